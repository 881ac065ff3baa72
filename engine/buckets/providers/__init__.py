"""Where sealed data is kept: one small protocol, one module per kind of place."""
