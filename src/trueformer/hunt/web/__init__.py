"""The hunt on a page: a server for one person on this machine. Needs the extra `serve`."""
