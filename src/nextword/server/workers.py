"""Threads for what takes long, so that the event loop answers everybody meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from fastapi import Request

from nextword.errors import NextwordError
from nextword.server.errors import ApiError, from_user_error, overloaded, stopped

T = TypeVar("T")

MAX_WAITING = 32
"""Requests that may wait for a thread, or have one."""


class ClientDisconnectedError(Exception):
    """The client is gone: what is being done is for nobody."""


class CancelToken:
    """Tells the work in a thread that nobody waits for it any more."""

    def __init__(self) -> None:
        self.cancelled = False

    def check(self) -> None:
        """To be called between the parts of something long.

        Raises:
            ClientDisconnectedError: Nobody waits any more.
        """
        if self.cancelled:
            raise ClientDisconnectedError


class Worker:
    """Threads that work through what is asked of them, and refuse what would wait too long.

    Args:
        name: Of the threads.
        threads: How many.
        max_waiting: Requests that may wait for one, or have one.
    """

    def __init__(self, name: str, threads: int = 1, max_waiting: int = MAX_WAITING) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._capacity = threading.BoundedSemaphore(max_waiting)
        self._closing = False
        self._submitting = threading.Lock()
        """So that nothing is given to a pool that has just been closed."""

    async def run(self, work: Callable[[CancelToken], T]) -> T:
        """What the work gives; nothing is begun if whoever asked is gone, and what has begun can ask for that.

        Raises:
            ApiError: Too much is waiting, the server ends, or the request is wrong.
        """
        cancel_token = CancelToken()
        with self._submitting:
            if self._closing:
                raise stopped()
            if not self._capacity.acquire(blocking=False):
                raise overloaded(1)
            future = self._pool.submit(work, cancel_token)
        # room for another when the thread is free, not when the client goes
        future.add_done_callback(lambda _: self._capacity.release())
        try:
            return await asyncio.wrap_future(future)
        except NextwordError as error:
            raise from_user_error(error) from None
        except asyncio.CancelledError:
            cancel_token.cancelled = True
            if self._closing:  # it had not begun
                raise stopped() from None
            raise

    def close(self) -> None:
        """Drops what has not begun."""
        with self._submitting:
            self._closing = True
        self._pool.shutdown(wait=False, cancel_futures=True)


async def cancel_on_disconnect(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What the work gives, unless the client goes first."""
    task, disconnected = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, disconnected}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ApiError("the client is gone", status=499)
        return task.result()
    finally:
        for future in (task, disconnected):
            future.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
