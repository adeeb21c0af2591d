"""Stress: laws that take minutes."""
