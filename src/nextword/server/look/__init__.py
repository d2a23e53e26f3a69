"""What the page asks for: its own files, traces, and the routes under /look."""
