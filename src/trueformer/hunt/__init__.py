"""The bug hunt: planted silent bugs to find and repair, graded by what the repaired code does."""
