"""server/process/."""
