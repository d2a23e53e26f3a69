"""Events -> TensorBoard's event files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nextword.errors import ConfigError, missing_extra
from nextword.training.events.event_types import Sampled, Stepped, Validated
from nextword.training.events.journal import AnyEvent, EventLog

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoard(EventLog):
    """Writes losses, speed and samples as TensorBoard's event files: `tensorboard --logdir DIRECTORY` shows them.

    Args:
        directory: Where they go; files of earlier runs in it stay.
        after: The step from which a run goes on: what an earlier one wrote of later steps is not shown.

    Raises:
        ConfigError: tensorboard is not installed, or the directory cannot be written.
    """

    def __init__(self, directory: Path, after: int = 0) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise missing_extra("tensorboard", "tensorboard", "logging for TensorBoard") from None
        try:
            self._writer: SummaryWriter = SummaryWriter(str(directory), purge_step=after + 1 if after else None)
        except OSError as error:
            raise ConfigError(f"cannot write {directory}: {error.strerror or error}") from None

    def close(self) -> None:
        """Writes what is still in memory."""
        self._writer.close()

    def __call__(self, event: AnyEvent) -> None:
        """Writes one event."""
        match event:
            case Stepped():
                self._scalar("loss/training, nats per character", event.nats_per_character, event.step)
                self._scalar("speed/tokens per second", event.tokens_per_second, event.step)
            case Validated():
                self._scalar("loss/held out, nats per character", event.nats_per_character, event.step)
                self._scalar("loss/held out, bits per byte", event.bits_per_byte, event.step)
                self._writer.flush()
            case Sampled():
                self._writer.add_text("sample", event.text, event.step)

    def _scalar(self, name: str, value: float, step: int) -> None:
        self._writer.add_scalar(name, value, step)
