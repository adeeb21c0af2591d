"""Data: ids, splits, order and cursors."""
