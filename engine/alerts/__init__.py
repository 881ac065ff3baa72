"""Alerts: what is wrong becomes incidents, and of each incident every target is told once, and once that it is over."""
