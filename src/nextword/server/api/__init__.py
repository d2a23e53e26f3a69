"""The API, a folder for each protocol that clients speak."""
