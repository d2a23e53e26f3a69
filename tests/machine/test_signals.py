"""SIGTERM does what Ctrl-C does, whatever Ctrl-C itself would do there."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from nextword.machine.signals import call_on_first_interrupt

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows ends processes without signals")

PROGRAM = """
import signal, sys
from nextword.machine.signals import terminate_as_interrupt, defer_interrupts
{before}
try:
    with terminate_as_interrupt(reraise={reraise}):
        with defer_interrupts():
            signal.raise_signal(signal.{sent})
            print("saved", flush=True)
        {after}
except {caught} as error:
    print("caught", type(error).__name__, flush=True)
    sys.exit(5)
print("went on", flush=True)
"""


def run(
    before: str = "",
    sent: str = "SIGTERM",
    after: str = "pass",
    caught: str = "KeyboardInterrupt",
    reraise: bool = False,
) -> tuple[int, list[str]]:
    program = PROGRAM.format(before=before, sent=sent, after=after, caught=caught, reraise=reraise)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.splitlines()


def test_it_waits_until_what_is_being_saved_is_saved() -> None:
    assert run() == (5, ["saved", "caught KeyboardInterrupt"])


def test_who_is_deaf_to_ctrl_c_hears_sigterm_all_the_same() -> None:
    deaf = "signal.signal(signal.SIGINT, signal.SIG_IGN)"
    assert run(deaf) == (5, ["saved", "caught KeyboardInterrupt"])
    assert run(deaf, sent="SIGINT") == (0, ["saved", "went on"])


def test_the_signal_is_sent_again_when_all_went_well_and_an_error_is_let_through() -> None:
    hears = "signal.signal(signal.SIGINT, lambda number, frame: None)"
    assert run(hears, reraise=True) == (-15, ["saved"])
    assert run(hears, reraise=True, after="raise OSError", caught="OSError") == (5, ["saved", "caught OSError"])


def test_the_first_ctrl_c_calls_and_the_second_is_an_ordinary_one() -> None:
    before, calls = signal.getsignal(signal.SIGINT), list[int]()
    with call_on_first_interrupt(lambda: calls.append(1)):
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert calls == [1]
    with call_on_first_interrupt(lambda: None):
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
