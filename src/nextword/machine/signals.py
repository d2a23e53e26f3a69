"""Signals that end a process. SIGTERM and SIGHUP do what Ctrl-C does, so that nothing is lost that it would keep."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]  # Windows has no SIGHUP


class TerminationHandler:
    """The handler of the signals that end a process, and the memory of the one that came.

    Args:
        on_hangup: Called when the terminal is gone (SIGHUP), before anything can be written to it.
    """

    def __init__(self, on_hangup: Callable[[], None]) -> None:
        self.number: int | None = None
        """The first that came."""
        self._hung_up = on_hangup

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        """Does what Ctrl-C would."""
        self.number = self.number or number
        if number != signal.SIGTERM:
            self._hung_up()
        if callable(signal.getsignal(signal.SIGINT)):
            signal.raise_signal(signal.SIGINT)
        else:  # a shell's background jobs are deaf to Ctrl-C, which is no reason to be deaf to this
            raise KeyboardInterrupt


@contextmanager
def terminate_as_interrupt(
    on_hangup: Callable[[], None] = lambda: None, *, reraise: bool = False
) -> Iterator[TerminationHandler]:
    """Inside, SIGTERM and SIGHUP act as SIGINT, where they would end the process: what others handle stays theirs.

    Args:
        on_hangup: Called when the terminal is gone.
        reraise: Whether such a signal, when all went well, is sent again: it ends the process then, as whoever sent it
            expects. An error that is on its way is let through instead.
    """
    ending = TerminationHandler(on_hangup)
    replaced = [number for number in _ENDING if signal.getsignal(number) == signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread():  # others may not set handlers
        replaced = []
    for number in replaced:
        signal.signal(number, ending)
    try:
        yield ending
    finally:
        for number in replaced:
            signal.signal(number, signal.SIG_DFL)
    if reraise and ending.number is not None:
        signal.raise_signal(ending.number)


def termination_signal() -> int | None:
    """The signal that has asked this process to end, inside `terminate_as_interrupt`; None if Ctrl-C or nothing did."""
    handlers = map(signal.getsignal, _ENDING)
    return next(
        (one.number for one in handlers if isinstance(one, TerminationHandler) and one.number is not None), None
    )


@contextmanager
def defer_interrupts() -> Iterator[None]:
    """Ctrl-C (SIGINT) inside takes effect at the end. It reaches the main thread only; elsewhere this does nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pending = False

    def set_pending(_number: int, _frame: FrameType | None) -> None:
        nonlocal pending
        pending = True

    previous = signal.signal(signal.SIGINT, set_pending)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
        if pending:
            if (
                not callable(previous) and termination_signal() is not None
            ):  # deaf to Ctrl-C, not to what ends the process
                raise KeyboardInterrupt
            signal.raise_signal(signal.SIGINT)


@contextmanager
def call_on_first_interrupt(stop: Callable[[], None]) -> Iterator[None]:
    """The first Ctrl-C (SIGINT) inside calls `stop`, in the main thread; a second one is what it was before."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(_number: int, _frame: FrameType | None) -> None:
        stop()
        signal.signal(signal.SIGINT, previous)

    previous = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
