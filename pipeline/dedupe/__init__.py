"""Pairs to candidates on Arrow batches: keys, counts by image and by caption, rows by part."""
