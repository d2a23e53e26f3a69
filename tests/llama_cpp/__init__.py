"""Tests that need llama-cpp-python, which builds for minutes: `make test-llama-cpp`."""
