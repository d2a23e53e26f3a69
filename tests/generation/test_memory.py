"""A Memory, and a cache, serve the model and the edits that filled them, and nobody else."""

from __future__ import annotations

import pytest

from nextword.errors import ConfigError
from nextword.generation import Memory, Sampling, TextStream, predict_token
from nextword.inspection.edits import ablate_head, scale
from nextword.language_model import LanguageModel
from nextword.loading import load

PROMPT = "To be, or not to"


@pytest.fixture(scope="module")
def models() -> dict[str, LanguageModel]:
    """The same weights, run in ways that leave other keys and values, or other memory, behind."""
    native, torch = load(), load(backend="torch")
    return {
        "native": native,
        "another copy": load(),
        "rounded": load(precision="q8_0"),
        "torch": torch,
        "edited": torch.edit(ablate_head(0, 1)),
        "edited otherwise": torch.edit(scale("blocks.0.hook_mlp_out", 0.5)),
    }


NAMES = ("native", "another copy", "rounded", "torch", "edited", "edited otherwise")


@pytest.mark.parametrize("other", NAMES)
@pytest.mark.parametrize("name", NAMES)
def test_every_door_refuses_what_another_model_has_read(
    name: str, other: str, models: dict[str, LanguageModel]
) -> None:
    lm, foreign = models[name], models[other]
    memory = Memory()
    text = lm.generate(PROMPT, 6, temperature=0.0, memory=memory).text
    if lm is foreign:
        assert lm.generate(PROMPT, 6, temperature=0.0, memory=memory).text == text
        return
    held = (list(memory.ids), memory.cache.length, memory.capacity)
    greedy = Sampling(temperature=0.0)
    for door in (
        lambda: foreign.generate(PROMPT, 6, memory=memory),
        lambda: foreign.generate(PROMPT, 600, memory=memory),  # which would have made a larger cache
        lambda: foreign.generate("Something else", 1, memory=memory),
        lambda: next(foreign.stream(PROMPT, 6, memory=memory)),
        lambda: TextStream(
            foreign.backend, foreign.tokenizer, PROMPT, max_new_tokens=1, sampling=greedy, memory=memory
        ),
        lambda: predict_token(foreign.backend, foreign.tokenizer, PROMPT, 3, "slide", memory),
        lambda: foreign.backend.forward([[5]], [memory.cache]),
        lambda: foreign.backend.forward([[5]], [memory.cache.fork()], "all"),
    ):
        with pytest.raises(ConfigError, match="what another model, or another edit of this one, has read"):
            door()
    assert (memory.ids, memory.cache.length, memory.capacity) == held
    assert lm.generate(PROMPT, 6, temperature=0.0, memory=memory).text == text  # and who may goes on with it


def test_two_chunks_need_two_caches_and_every_chunk_needs_one(models: dict[str, LanguageModel]) -> None:
    for name in ("native", "torch"):
        backend = models[name].backend
        cache = backend.new_cache(9)
        for caches in ([cache, cache], [cache], [cache, backend.new_cache(9), backend.new_cache(9)]):
            with pytest.raises(ConfigError, match="a cache of its own"):
                backend.forward([[1], [2]], caches)
        assert cache.length == 0
