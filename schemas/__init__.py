"""The contract: JSON Schemas of the config repository and the agent messages, and how YAML is read and checked."""
