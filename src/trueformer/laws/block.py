"""Blocks: residuals, gradients and scales through the depth."""
