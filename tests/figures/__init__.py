"""figures/."""
