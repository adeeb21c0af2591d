"""Layers, one idea a file, no input or output."""
