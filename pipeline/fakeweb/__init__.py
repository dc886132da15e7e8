"""The embedded web: pages, pictures, archives and servers from a seed, with ground truth."""
