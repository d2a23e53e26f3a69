"""What single heads are for: the effect of switching each off, and how much each repeats what came before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nextword.errors import ConfigError
from nextword.generation.backend import Backend
from nextword.generation.sampling import log_softmax
from nextword.inspection.capture import capture, check_tokens
from nextword.inspection.edited_backend import EditedBackend
from nextword.inspection.inspectable import InspectableModel, unpack_backend

if TYPE_CHECKING:
    from nextword.model import GPTModel


def ablation_map(
    model: InspectableModel | Backend | GPTModel,
    token_ids: Sequence[int],
    targets: Mapping[int, int] | None = None,
    watch: Callable[[int], None] = lambda _: None,
) -> NDArray[np.float64]:
    """How much switching off each head, alone, changes the log-probability of the targets, [L, H], in nats.

    Negative: without the head they are less probable, so it works for them.

    Args:
        model: A LanguageModel (its edits hold in every pass), a backend or a GPTModel.
        token_ids: The text.
        targets: Position -> the token that should come next; the mean over them is taken. None: the model's own first
            choice after the last token.
        watch: Is told each layer that is done.

    Raises:
        TextError: There are no tokens.
        ConfigError: A target's position or token does not exist.
    """
    backend, _, edits = unpack_backend(model)
    config, ids = backend.config, list(token_ids)
    check_tokens(config, ids, "nothing to predict from")
    runs = EditedBackend(backend, edits)
    last = f"blocks.{config.num_layers - 1}.hook_resid_post"

    def logits(rows_BTD: list[NDArray[Any]], places: list[int]) -> NDArray[Any]:
        return np.stack([runs.unembed(rows_TD[places], positions=places) for rows_TD in rows_BTD])

    def run(tap: _AblateEachHead, count: int) -> list[NDArray[Any]]:
        runs.forward([ids] * count, [runs.new_cache(len(ids)) for _ in range(count)], "none", tap)
        return [tap.last[row] for row in range(count)]

    if targets is None:
        end = len(ids) - 1
        targets = {end: int(logits(run(_AblateEachHead("", last), 1), [end])[0, 0].argmax())}
    for position, token in targets.items():
        if not 0 <= position < len(ids) or not 0 <= token < config.vocab_size:
            raise ConfigError(f"there is no position {position}, or no token {token}, to watch")
    places, tokens = list(targets), list(targets.values())
    # Rows of a batch may round otherwise than a text alone: the unchanged text is one of them.
    effects = np.zeros((config.num_layers, config.num_heads))
    for layer in range(config.num_layers):
        tap = _AblateEachHead(f"blocks.{layer}.attn.hook_z", last)
        logits_BPV = logits(run(tap, config.num_heads + 1), places)
        chosen_BP = log_softmax(logits_BPV.astype(np.float64))[:, range(len(places)), tokens]
        effects[layer] = (chosen_BP[:-1] - chosen_BP[-1]).mean(-1)
        watch(layer)
    return effects


class _AblateEachHead:
    """In chunk b head b is switched off, which leaves the last one whole; keeps what the last block gives out."""

    def __init__(self, z: str, last: str) -> None:
        self.names = (z, last) if z else (last,)
        self.last: dict[int, NDArray[Any]] = {}

    def __call__(self, name: str, value: NDArray[Any], chunk: int) -> NDArray[Any] | None:
        if name == self.names[-1]:
            self.last[chunk] = value
            return None
        if chunk == value.shape[1]:
            return None
        value[:, chunk] = 0
        return value


def induction_scores(
    model: InspectableModel | Backend | GPTModel, token_ids: Sequence[int], period: int
) -> NDArray[np.float64]:
    """How much each head looks at the token after the previous occurrence, [L, H], from 0 to 1.

    The mean is taken over the tokens that have been seen before.
    Source: Olsson et al. 2022, "In-context Learning and Induction Heads".

    Args:
        model: A LanguageModel (its edits are applied), a backend or a GPTModel.
        token_ids: A text that repeats itself.
        period: After how many tokens it does.

    Raises:
        ConfigError: The text does not repeat itself.
        TextError: A token is not in the vocabulary.
        ContextOverflowError: There are more than the model can look at.
    """
    ids, count = list(token_ids), len(token_ids)
    if not 1 <= period < count or ids[period:] != ids[: count - period]:
        raise ConfigError(f"the text does not repeat itself every {period} tokens")
    backend, _, edits = unpack_backend(model)
    trace = capture(backend, None, "", ids, names=("rot_q", "rot_k"), edits=edits)
    rows = np.arange(period, count)
    layers = range(trace.config.num_layers)
    return np.array([trace.attention(layer)[:, rows, rows - period + 1].mean(-1) for layer in layers], np.float64)
