"""What this machine has, and what of it this process may use: processors, memory, disks, GPUs, a container's limits.

Asked here and nowhere else. Every file of this room is cheap to import.
"""
