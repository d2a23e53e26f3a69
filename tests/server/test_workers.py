"""Threads for what takes long, and their end."""

from __future__ import annotations

import asyncio
import threading

import pytest

from nextword.server.errors import ApiError
from nextword.server.workers import Worker


def test_what_comes_while_a_worker_is_closed_is_told_so() -> None:
    """Nothing is given to a pool that is closed, however the two threads meet."""

    async def ask(worker: Worker) -> list[object]:
        closing = threading.Thread(target=worker.close)
        asked = [asyncio.ensure_future(worker.run(lambda _: 1)) for _ in range(20)]
        await asyncio.sleep(0)
        closing.start()
        asked += [asyncio.ensure_future(worker.run(lambda _: 1)) for _ in range(20)]
        found = await asyncio.gather(*asked, return_exceptions=True)
        closing.join()
        return found

    for _ in range(30):
        for answer in asyncio.run(ask(Worker("test", max_waiting=64))):
            assert answer == 1 or (isinstance(answer, ApiError) and answer.status == 503), answer


def test_a_pool_that_is_closed_between_looking_and_giving_is_no_accident(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one order of events that was a RuntimeError: the close comes when the way was found open."""
    worker = Worker("test")
    closing = threading.Thread(target=worker.close)
    acquire = worker._capacity.acquire

    def closed_now(blocking: bool) -> bool:
        closing.start()
        closing.join(0.2)  # a close that does not wait is over by then
        return acquire(blocking=blocking)

    monkeypatch.setattr(worker._capacity, "acquire", closed_now)
    assert asyncio.run(worker.run(lambda _: 1)) == 1
    closing.join()
    with pytest.raises(ApiError) as refused:
        asyncio.run(worker.run(lambda _: 2))
    assert refused.value.status == 503
