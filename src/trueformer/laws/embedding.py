"""Embeddings and the head: used, of one size, and tied where they say so."""
