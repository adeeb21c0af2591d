"""The training loop: accumulation, clipping, modes, memory."""
