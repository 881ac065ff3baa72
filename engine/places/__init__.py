"""Places that run apps without an agent of ours: one small protocol, and an adapter for each kind."""
