"""What this machine has, and what of it this process may use: processors, memory, disks, GPUs, a container's limits.

Asked here and nowhere else. Every file of this room is cheap to import. psutil knows neither containers nor `ulimit`
and counts cores that this process may not use (docs/lab-notes.md).
"""
