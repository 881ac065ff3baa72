"""Reports to forges: commit statuses and git notes."""
