"""The stages of the line: each ties pure parts to tables."""
