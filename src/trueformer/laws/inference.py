"""Inference: caches, batches and sampling."""
