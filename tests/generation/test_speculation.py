"""Tokens that are guessed and checked in one pass: the same text as one by one, in fewer passes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from nextword import LanguageModel
from nextword.config import GPTConfig
from nextword.engine.backend import NativeBackend
from nextword.errors import ConfigError
from nextword.files.tensors import RawTensor
from nextword.generation import Memory, Sampling, TextStream
from nextword.generation.lookup import PromptLookup
from nextword.tokens import Tokenizer
from tests.oracle.cases import random_weights

WORDS = ["가", "나", "다", "라", "마", "바", "사", "아", "자", "차", "카", "타"]
TOKENIZER = Tokenizer.words(WORDS)
CONFIG = GPTConfig.qwen3(len(WORDS), 60, d_model=32, num_heads=2, num_layers=2, d_ff=64)


class Counting(NativeBackend):
    """The native backend, which counts its passes and the tokens it reads."""

    passes = tokens = 0

    def forward(
        self, chunks: Sequence[Sequence[int]], caches: Sequence[Any], logits: Literal["last", "all"] = "last"
    ) -> list[NDArray[np.float32]]:
        self.passes += 1
        self.tokens += sum(len(chunk) for chunk in chunks)
        return super().forward(chunks, caches, logits)


def backend(scale: float = 1.0, seed: int = 0, context: int = CONFIG.context_length) -> Counting:
    weights = random_weights(CONFIG, seed)
    weights["output_layer.weight"] = weights.get("output_layer.weight", weights["token_embedding.weight"]) * scale
    config = CONFIG.replace(tie_embeddings=False, context_length=context)
    tensors = {n: RawTensor.from_bits(n, "F32", np.asarray(w, np.float32)) for n, w in weights.items()}
    return Counting(config, tensors)


def write(
    run: Counting, prompt: str, speculative: bool, count: int, memory: Memory | None = None, **settings: Any
) -> Any:
    sampling = Sampling(**{k: settings.pop(k) for k in ("temperature", "top_p", "repetition_penalty") if k in settings})
    stream = TextStream(
        run,
        TOKENIZER,
        prompt,
        max_new_tokens=count,
        sampling=sampling,
        speculative=speculative,
        memory=memory,
        **{"seed": 1, **settings},
    )
    pieces = list(stream)
    assert "".join(pieces) == stream.generation.text
    return stream.generation


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.0},
        {"temperature": 0.7},
        {"temperature": 1.5, "top_p": 0.9, "logprobs": 3},
        {"temperature": 0.5, "repetition_penalty": 1.1},
        {"temperature": 0.3, "stop": ["나 다", "마 마 가"]},
        {"temperature": 0.3, "overflow": "stop"},
    ],
    ids=str,
)
@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_the_text_is_the_same_as_token_by_token(scale: float, settings: dict[str, Any]) -> None:
    run = backend(scale)
    for seed in range(8):
        prompt = " ".join(np.random.default_rng(seed).choice(WORDS, 5 + seed))
        for count in (1, 7, 150):  # the last one slides through the context several times
            one_by_one = write(run, prompt, False, count, **{**settings, "seed": seed})
            assert write(run, prompt, True, count, **{**settings, "seed": seed}) == one_by_one


def test_a_text_that_repeats_itself_takes_a_fraction_of_the_passes() -> None:
    run = backend(3.0)
    write(run, "가 나 다", False, 50, temperature=0.0)
    one_by_one, run.passes = run.passes, 0
    write(run, "가 나 다", True, 50, temperature=0.0)
    assert one_by_one == 50
    assert run.passes < 25


def test_guesses_that_are_always_wrong_become_rare() -> None:
    run = backend(0.01)  # near to uniform: what was seen before says nothing
    run.tokens = 0
    count = 50
    rng = np.random.default_rng(0)
    for _ in range(20):
        write(run, " ".join(rng.choice(WORDS[:3], 9)), True, count, temperature=1.0, seed=int(rng.integers(1 << 30)))
    assert run.tokens < 1.4 * 20 * (count + 8)


def test_what_was_read_ahead_in_vain_is_forgotten() -> None:
    run, memory = backend(1.0), Memory()
    for seed in range(30):
        generation = write(run, "가 나 다 가 나 다 가 나", True, 20, memory, temperature=0.7, seed=seed)
        assert memory.cache.length == len(memory.ids)
        seen = [*generation.prompt_token_ids, *generation.token_ids]
        shared = min(len(seen), len(memory.ids))
        assert memory.ids[: shared - 1] == seen[: shared - 1]


def test_a_guess_is_what_stood_behind_the_same_three_tokens() -> None:
    lookup = PromptLookup([1, 2, 3, 4, 5, 6, 1, 2, 3])
    assert lookup.propose(2) == [4, 5]
    assert lookup.propose(9) == [4, 5, 6]
    lookup.update(3, 3)
    assert lookup.propose(9) == [4, 5, 6, 1, 2, 3]
    lookup.add(9)
    assert lookup.propose(9) == []
    circle = PromptLookup([7, 7, 7, 7])
    assert circle.propose(3) == [7, 7, 7]
    assert PromptLookup([1, 2]).propose(5) == []


def test_misses_make_it_pause() -> None:
    lookup = PromptLookup([1, 2, 3, 4, 1, 2, 3])
    lookup.update(3, 0)
    assert lookup.propose(3)
    lookup.update(3, 0)
    pauses = [bool(lookup.propose(3)) for _ in range(6)]
    assert pauses == [False, False, False, False, True, True]
    lookup.update(3, 1)
    assert lookup.propose(3)


# -- a draft model -------------------------------------------------------------------------------------------------

DRAFTS = {
    "the model itself": backend,
    "another model": lambda scale: backend(scale, seed=1),
    "a shorter context": lambda scale: backend(scale, context=20),
}


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.0},
        {"temperature": 0.7, "logprobs": 3},
        {"temperature": 0.5, "repetition_penalty": 1.1, "stop": ["나 다", "마 마 가"]},
        {"temperature": 0.3, "overflow": "stop"},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", DRAFTS)
def test_with_a_draft_model_the_text_is_the_same_as_token_by_token(kind: str, settings: dict[str, Any]) -> None:
    run, draft = backend(3.0), DRAFTS[kind](3.0)
    for seed in range(4):
        prompt = " ".join(np.random.default_rng(seed).choice(WORDS, 5 + 9 * seed))
        for count in (1, 7, 150):
            one_by_one = write(run, prompt, False, count, **{**settings, "seed": seed})
            assert write(run, prompt, True, count, **{**settings, "seed": seed}, draft=draft) == one_by_one


def test_two_hundred_seeds_draw_the_same_tokens_from_one_memory() -> None:
    run, draft, memory = backend(2.0), backend(2.0, seed=1), Memory()
    for seed in range(200):
        one_by_one = write(run, "가 나 다 라", False, 20, temperature=0.8, seed=seed)
        assert write(run, "가 나 다 라", True, 20, memory, temperature=0.8, seed=seed, draft=draft) == one_by_one
        assert memory.draft is not None
        assert memory.draft.cache.length == len(memory.draft.ids)
    assert draft.tokens > 200


def test_a_draft_model_that_knows_the_text_saves_passes() -> None:
    run, draft = backend(3.0), backend(3.0)
    alone = write(run, "가 나 다", False, 40, temperature=0.0)
    passes, run.passes = run.passes, 0
    assert write(run, "가 나 다", True, 40, temperature=0.0, draft=draft) == alone
    assert passes == 40
    assert run.passes < 15


def test_a_draft_model_that_is_never_right_is_asked_rarely() -> None:
    run, draft = backend(0.01), backend(30.0, seed=1)  # nearly uniform, guessed by one that is always sure
    write(run, "가 나 다 라", True, 50, temperature=1.0, seed=3, draft=draft)
    assert 0 < draft.passes < 40


def test_after_a_break_in_a_draft_the_next_text_is_right() -> None:
    run, memory = backend(3.0), Memory()

    class Broken(Counting):
        def forward(self, *args: Any, **settings: Any) -> list[NDArray[np.float32]]:
            logits = super().forward(*args, **settings)
            if self.passes == 3:
                raise KeyboardInterrupt  # Ctrl-C, when the cache has grown already
            return logits

    draft = backend(3.0)
    draft.__class__ = Broken
    with pytest.raises(KeyboardInterrupt):
        write(run, "가 나 다", True, 40, memory, temperature=0.0, draft=draft)
    one_by_one = write(run, "가 나 다 마", False, 40, temperature=0.0)
    assert write(run, "가 나 다 마", True, 40, memory, temperature=0.0, draft=draft) == one_by_one
    assert draft.passes > 5


def test_a_draft_model_of_another_tokenizer_is_refused_in_one_line() -> None:
    lm = LanguageModel(backend(), TOKENIZER, draft=LanguageModel(backend(seed=1), TOKENIZER))
    alone = LanguageModel(lm.backend, TOKENIZER)
    assert lm.generate("가 나 다", 30, seed=5) == alone.generate("가 나 다", 30, seed=5)
    other = LanguageModel(backend(), Tokenizer.words(WORDS[:-1]))
    with pytest.raises(ConfigError, match="another tokenizer, of 11 tokens where the model has 12"):
        LanguageModel(backend(), TOKENIZER, draft=other)
    dependent = backend()
    dependent.bitwise_invariant = False
    with pytest.raises(ConfigError, match="cannot help the native backend"):
        LanguageModel(dependent, TOKENIZER, draft=other)
