"""Nodes: registry, certificates, placement, judgement, the agent endpoint."""
