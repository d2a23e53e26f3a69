"""LoRA: small matrices that learn beside large ones, and their files as the library peft has them."""

from nextword.training.adapters.peft_files import load_adapter, save_adapter

__all__ = [
    "load_adapter",
    "save_adapter",
]
