"""An edit's positions count from the text's first token, in whatever windows the text is read: held against NumPy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

import nextword
from nextword.generation import Memory
from nextword.generation.context import window_start
from nextword.generation.sampling import log_softmax
from tests.inspection.models import language_model
from tests.oracle.cases import CASES, random_weights
from tests.oracle.numpy_gpt import Array, NumpyGPT

CONTEXT = 11
NAME, FACTOR, POSITIONS = "blocks.1.hook_resid_mid", -2.0, [2, 8, 10]
EDIT = nextword.scale(NAME, FACTOR, positions=POSITIONS)
CASE = "gpt2"


def logits(ids: Sequence[int], begin: int, end: int) -> Array:
    """[T, V] of the window from `begin` to `end`; tokens keep the edits that their places in the text have."""

    def tap(name: str, value: Array) -> Array:
        if name != NAME:
            return value
        value = value.copy()
        value[:, [place - begin for place in POSITIONS if begin <= place < end]] *= FACTOR
        return value

    window = np.array([ids[begin:end]])
    return NumpyGPT(CASES[CASE], random_weights(CASES[CASE]), tap).logits(window)[0]


@pytest.mark.parametrize("stride", [None, 4, 11])
def test_score_applies_an_edit_to_its_tokens_once_however_many_windows_there_are(stride: int | None) -> None:
    lm = language_model(CASE, torch.float64)
    ids = np.random.default_rng(0).integers(0, 20, 37).tolist()
    text, step = lm.tokenizer.decode(ids), stride or CONTEXT
    expected = []
    for start in range(0, len(ids) - 1, step):
        begin, end = max(0, start + step - CONTEXT), min(start + step, len(ids) - 1)
        rows = log_softmax(logits(ids, begin, end)[start - begin :].astype(np.float32))
        expected += [float(row[ids[start + 1 + i]]) for i, row in enumerate(rows)]
    found = lm.edit(EDIT).score(text, stride).token_logprobs
    np.testing.assert_allclose(np.array(found[1:], float), expected, rtol=0, atol=1e-5)
    assert np.abs(np.array(found[1:], float) - np.array(lm.score(text, stride).token_logprobs[1:], float)).max() > 0.1


def write(ids: Sequence[int], count: int) -> list[int]:
    """Greedy tokens, each from a whole pass over the window."""
    seen, begin = list(ids), 0
    for _ in range(count):
        if len(seen) - begin > CONTEXT:
            begin = window_start(len(seen), CONTEXT)
        seen.append(int(logits(seen, begin, len(seen))[-1].argmax()))
    return seen[len(ids) :]


def test_text_that_is_written_beyond_the_context_keeps_edits_with_their_tokens() -> None:
    lm, ids = language_model(CASE, torch.float64), [1, 5, 2, 7]
    edited = lm.edit(EDIT)
    expected = write(ids, 30)
    assert list(edited.generate(ids, 30, temperature=0).token_ids) == expected
    assert list(lm.generate(ids, 30, temperature=0).token_ids) != expected


def test_what_a_slid_window_left_in_the_cache_is_not_read_on_from() -> None:
    lm, ids = language_model(CASE, torch.float64), [1, 5, 2, 7]
    edited, memory = lm.edit(EDIT), Memory()
    edited.generate(ids, 18, temperature=0, memory=memory)
    assert memory.origin > 0
    window = [*memory.ids, 3]
    assert list(edited.generate(window, 6, temperature=0, memory=memory).token_ids) == write(window, 6)
    assert memory.origin in (0, window_start(12, CONTEXT))
