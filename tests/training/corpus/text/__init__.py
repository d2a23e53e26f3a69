"""training/corpus/text/."""
