"""measuring/."""
