"""What watches a run: progress, metrics, figures, checkpoints, early stopping, trackers; one file each."""
