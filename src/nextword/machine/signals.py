"""Signals that end a process. SIGTERM and SIGHUP do what Ctrl-C does, so that nothing is lost that it would keep."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]  # Windows has no SIGHUP


class Ending:
    """The handler of the signals that end a process, and the memory of the one that came.

    Args:
        hung_up: Called when the terminal is gone (SIGHUP), before anything can be written to it.
    """

    def __init__(self, hung_up: Callable[[], None]) -> None:
        self.number: int | None = None
        """The first that came."""
        self._hung_up = hung_up

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
def ended_like_ctrl_c(hung_up: Callable[[], None] = lambda: None, *, again: bool = False) -> Iterator[Ending]:
    """Inside, SIGTERM and SIGHUP act as SIGINT, where they would end the process: what others handle stays theirs.

    Args:
        hung_up: Called when the terminal is gone.
        again: Whether such a signal, when all went well, is sent again: it ends the process then, as whoever sent it
            expects. An error that is on its way is let through instead.
    """
    ending = Ending(hung_up)
    taken = [number for number in _ENDING if signal.getsignal(number) == signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread():  # others may not set handlers
        taken = []
    for number in taken:
        signal.signal(number, ending)
    try:
        yield ending
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)
    if again and ending.number is not None:
        signal.raise_signal(ending.number)


def ended_by() -> int | None:
    """The signal that has asked this process to end, inside `ended_like_ctrl_c`; None if Ctrl-C or nothing did."""
    handlers = map(signal.getsignal, _ENDING)
    return next((one.number for one in handlers if isinstance(one, Ending) and one.number is not None), None)


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """Ctrl-C (SIGINT) inside takes effect at the end. It reaches the main thread only; elsewhere this does nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed = False

    def remember(_number: int, _frame: FrameType | None) -> None:
        nonlocal pressed
        pressed = True

    previous = signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
        if pressed:
            if not callable(previous) and ended_by() is not None:  # deaf to Ctrl-C, not to what ends the process
                raise KeyboardInterrupt
            signal.raise_signal(signal.SIGINT)
