"""Whole models: configurations, the decoder, and conversion to and from other formats."""
