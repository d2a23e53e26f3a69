"""The process around the application: sockets, guards, signals, logs."""
