"""training/planning/."""
