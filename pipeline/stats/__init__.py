"""Statistics, charts and the report."""
