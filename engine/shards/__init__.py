"""The SQL router: several small PostgreSQL databases answer as one, and never wrongly (docs/sql-architecture.md)."""
