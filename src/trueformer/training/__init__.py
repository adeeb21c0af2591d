"""The loop, the loss, checkpoints, callbacks, distributed runs."""
