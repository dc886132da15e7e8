"""Judges a dataset by the model it trains: views of one pool, a fixed budget, held-out tasks."""
