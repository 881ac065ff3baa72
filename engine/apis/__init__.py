"""How the APIs of providers are spoken to: one client for all adapters, with each provider's limits as data."""
