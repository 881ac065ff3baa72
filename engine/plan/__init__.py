"""Pure planning: desired and observed in, ordered actions with reasons out."""
