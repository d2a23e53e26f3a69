"""Whoever looks at a model has no dropout, and leaves its mode as it was."""

from __future__ import annotations

import threading

from nextword import GPTModel
from nextword.model.evaluation import eval_mode


def test_of_two_threads_that_look_at_once_the_last_puts_the_mode_back() -> None:
    model = GPTModel(10, 8, 2, 1, 0.5, 4).train()
    model.blocks[0].ln1.eval()
    before = {module: module.training for module in model.modules()}
    looking, ended = threading.Event(), threading.Event()
    seen = list[bool]()

    def look() -> None:
        with eval_mode(model):
            looking.set()
            ended.wait(60)
            seen.append(any(module.training for module in model.modules()))

    thread = threading.Thread(target=look)
    with eval_mode(model):
        thread.start()
        assert looking.wait(60)
    assert not any(module.training for module in model.modules())  # the other looks still
    ended.set()
    thread.join(60)
    assert seen == [False]
    assert {module: module.training for module in model.modules()} == before
