"""Places that are an account at a provider, where every app is one service with a URL of its own."""
