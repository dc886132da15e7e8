"""Nearest kept pictures to a text or a picture: a FAISS index of stored embeddings."""
