"""Tests mirror src/nextword/; `oracle/` holds what they are held against."""
