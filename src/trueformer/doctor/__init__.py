"""The doctor: runs the laws over a subject, reads source, watches a run, and reports."""
