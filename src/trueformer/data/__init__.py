"""Corpora, token shards on disk, packing and loaders."""
