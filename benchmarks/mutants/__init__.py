"""Bugs to be found: single edits of sound code, written by hand or made by operators."""
