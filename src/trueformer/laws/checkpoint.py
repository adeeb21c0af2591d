"""Checkpoints: what is saved is what goes on."""
