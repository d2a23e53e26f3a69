"""training/run/."""
