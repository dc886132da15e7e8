"""CLIP: models, embeddings, similarity."""
