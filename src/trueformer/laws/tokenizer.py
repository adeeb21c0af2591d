"""Tokenizers: what goes in comes out."""
