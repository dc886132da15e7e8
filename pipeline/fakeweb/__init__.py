"""A small web made from a seed, with ground truth for everything on it, served on loopback."""
