"""Precision and devices: dtypes agree, nothing is left behind, compiled equals eager."""
