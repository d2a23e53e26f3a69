"""Proof and speed: verification against other programs, rounding, cloze, bench. Nothing here is imported by what runs a model."""
