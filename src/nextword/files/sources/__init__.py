"""Where models come from: paths, pulled names, packages, the hub."""
