"""Shows: a read-only web page over the store."""
