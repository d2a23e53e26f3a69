"""training/checkpoints/."""
