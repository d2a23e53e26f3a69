"""Proof and speed: verification, rounding, cloze, bench. Nothing that runs a model imports it."""
