"""Position: that order matters, and that it enters as it claims to."""
