"""PostgreSQL's protocol, version 3.0, towards clients and towards shards."""
