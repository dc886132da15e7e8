"""Pairmill: from web archives to image-text training data."""

__version__ = "0.1.0"
