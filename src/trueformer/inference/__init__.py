"""Sampling and cached generation: ids in and ids out (`generate`), text in and text out (`text`)."""
