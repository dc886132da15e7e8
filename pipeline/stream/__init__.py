"""Reading releases."""
