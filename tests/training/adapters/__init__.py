"""training/adapters/."""
