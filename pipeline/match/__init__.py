"""Near-duplicates: exact Hamming joins by block tables, verification, survivors."""
