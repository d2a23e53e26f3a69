"""Every rich view of the command line: tables, bars, progress."""
