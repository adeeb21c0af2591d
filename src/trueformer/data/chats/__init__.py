"""Where conversations come from: files of them, and tasks that are made or read and can be examined."""
