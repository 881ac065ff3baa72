"""The edge of a node: Caddy with a frozen configuration, and the small process that tells it where apps are."""
