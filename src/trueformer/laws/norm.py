"""Normalisation: finite, in float32, with its epsilon where it belongs."""
