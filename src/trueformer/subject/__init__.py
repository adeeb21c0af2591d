"""The code under test, seen from outside: calling it, watching inside it, putting it back as it was."""
