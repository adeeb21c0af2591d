"""Source rules: what behaviour cannot show, found by reading Python without importing it."""
