"""The loss: it is the cross-entropy, of the right targets."""
