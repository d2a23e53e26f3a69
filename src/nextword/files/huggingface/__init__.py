"""Model directories of Hugging Face's layout: architectures, config.json, names of weights, reading."""
