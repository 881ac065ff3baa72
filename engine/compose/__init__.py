"""Compose projects become apps. Pure, after the Compose Specification (https://compose-spec.io)."""
