"""Decides what should run where, and makes it so."""
