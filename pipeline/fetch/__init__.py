"""The downloader: robots, limits, safe sockets, decoding, hashes, raw tars."""
