"""Laws, one file a component: executable statements of what must hold of a transformer."""
