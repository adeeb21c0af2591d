"""Bits per byte and perplexity."""
