"""training/events/."""
