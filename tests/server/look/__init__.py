"""server/look/."""
