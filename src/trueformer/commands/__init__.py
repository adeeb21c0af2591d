"""What each command does, one file each: a dataclass of typed options and a `run` that calls the library."""
