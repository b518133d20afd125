"""Model files, checkpoints, and the archives that both are."""
