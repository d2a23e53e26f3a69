"""See and change what happens inside a model."""
