"""The jobs of one request, and the one stream of pieces that comes of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from nextword.generation import Memory, TextStream
from nextword.language_model import LanguageModel
from nextword.server.errors import ApiError
from nextword.server.jobs import Job, Piece
from nextword.server.model_settings import new_token_limit
from nextword.server.scheduler import Scheduler
from nextword.settings import ServerSettings


class Batch:
    """Jobs of one request, and what comes of them.

    Used as `async with`: whoever leaves it early, because the client is gone, gives up the jobs.
    """

    def __init__(self, scheduler: Scheduler, settings: ServerSettings) -> None:
        self._scheduler, self.settings = scheduler, settings
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[tuple[int, Piece | ApiError]] = asyncio.Queue()
        self.jobs: list[Job] = []

    def check(self, texts: int, param: str) -> None:
        """Refuses more texts than may ever wait at once, before they are made.

        Raises:
            ApiError: They are more; it names the field that asks for them.
        """
        self._scheduler.check(texts, param)

    def add(self, lm: LanguageModel, ids: list[int], max_new_tokens: int | None, **settings: Any) -> None:
        """One more text of `max_new_tokens`, or as many as there is room for: the settings are TextStream's."""
        index = len(self.jobs)
        settings["max_new_tokens"] = new_token_limit(self.settings, lm.config, len(ids), max_new_tokens)

        def start(memory: Memory) -> TextStream:
            draft = None if lm.draft is None else lm.draft.backend
            return TextStream(lm.backend, lm.tokenizer, ids, overflow="stop", memory=memory, draft=draft, **settings)

        def emit(event: Piece | ApiError) -> None:
            self._events.put_nowait((index, event))

        self.jobs.append(Job(lm, start, ids, emit, self.settings.request_seconds, self._loop.call_soon_threadsafe))

    async def __aenter__(self) -> Batch:
        self._scheduler.submit(self.jobs)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._scheduler.cancel(self.jobs)

    async def pieces(self) -> AsyncIterator[tuple[int, Piece]]:
        """Number of the text, and a piece of it, as they come.

        Raises:
            ApiError: One of the texts could not be written.
        """
        remaining = len(self.jobs)
        while remaining:
            merged: dict[int, Piece] = {}  # what has come meanwhile of one text goes out as one piece
            events = [await self._events.get()]
            while not self._events.empty():
                events.append(self._events.get_nowait())
            for index, event in events:
                if isinstance(event, ApiError):
                    raise event
                merged[index] = merged[index].and_then(event) if index in merged else event
            for index, piece in merged.items():
                yield index, piece
                remaining -= piece.finish is not None
