"""The old place of `nextword.training.adapters.lora`."""

from nextword.deprecated import moved_module

__getattr__ = moved_module("nextword.training.lora", "nextword.training.adapters.lora")
