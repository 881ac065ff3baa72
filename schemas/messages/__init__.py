"""JSON Schemas of what an agent and the engine say to each other."""
