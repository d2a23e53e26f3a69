"""inspection/."""
