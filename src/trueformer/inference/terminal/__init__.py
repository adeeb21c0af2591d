"""A conversation in the terminal, or for a script through a pipe: what `trueformer chat` runs."""
