"""Continuous batching: requests join and leave a running batch, over a fixed budget of memory."""
