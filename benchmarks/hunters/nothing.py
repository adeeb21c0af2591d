"""Does nothing: what it solves was not broken."""
