"""training/corpus/."""
