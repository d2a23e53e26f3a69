"""Every rich view of the command line: tables, bars, progress."""

MIN_WIDTH, DEFAULT_WIDTH = 20, 80
"""Columns: no terminal is meant by fewer (0 is what one says that has no size yet), and what is taken then."""
