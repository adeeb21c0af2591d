"""Optimizers: every parameter once, and steps that are what they say."""
