"""Mutants that no law catches, and why."""

SURVIVORS: dict[str, str] = {}
