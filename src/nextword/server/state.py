"""What the routes of every protocol work with."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial

from nextword.language_model import LanguageModel
from nextword.server.metrics import Metrics
from nextword.server.model_settings import context_length
from nextword.server.models import Models
from nextword.server.scheduler import Scheduler
from nextword.server.workers import Worker
from nextword.settings import ServerSettings

ENCODING_THREADS = 2
"""A long text holds up the prompts of one of them."""


@dataclass
class State:
    """The models that are served, and the threads that work for them."""

    models: Models
    settings: ServerSettings
    metrics: Metrics = field(default_factory=Metrics)
    scheduler: Scheduler = field(init=False)
    tokenizer_worker: Worker = field(init=False)
    """What turns texts into tokens and back."""

    def __post_init__(self) -> None:
        """Starts the threads."""
        settings = self.settings
        limit = partial(context_length, settings)
        self.scheduler = Scheduler(settings.slots, settings.queue, watch=self.metrics.ended, context_of=limit)
        self.tokenizer_worker = Worker("encode", ENCODING_THREADS, settings.queue)
        self.metrics.watch(self.scheduler)

    async def model(self, name: str | None) -> tuple[str, LanguageModel]:
        """The model that a request means; loading it holds up nobody else.

        Raises:
            ApiError: There is none of that name.
        """
        name = self.models.name_of(name)
        return name, await asyncio.to_thread(self.models.get, name)

    def close(self, seconds: float) -> None:
        """Refuses new work, and gives texts that are being written so long."""
        self.tokenizer_worker.close()
        self.scheduler.close(seconds)
