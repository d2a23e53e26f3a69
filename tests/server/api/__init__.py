"""server/api/."""
