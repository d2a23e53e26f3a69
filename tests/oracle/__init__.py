"""Independent implementations that the package is held against, and the models to compare on."""
