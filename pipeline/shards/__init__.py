"""Releases: deterministic tars, index, manifest, card."""
