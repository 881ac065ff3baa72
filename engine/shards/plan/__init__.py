"""Decides which shards a statement needs and how their answers become one. Pure."""
