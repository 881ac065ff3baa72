"""What git cannot hold: observations, history, intents."""
