"""What this machine has, and what of it this process may use: processors, memory, and a container's limits on both.

Asked here and nowhere else. Every file of this room is cheap to import.
"""
