"""What single heads are for: the effect of switching each off, and how much each repeats what came before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nextword.errors import ConfigError
from nextword.inspection.capture import capture, check_tokens
from nextword.inspection.edit_tap import EditTap
from nextword.inspection.inspectable import InspectableModel, unpack_model, with_edits
from nextword.model import GPTModel, eval_mode
from nextword.model.tap import tap_point


def ablation_map(
    model: GPTModel | InspectableModel,
    token_ids: Sequence[int],
    targets: Mapping[int, int] | None = None,
    watch: Callable[[int], None] = lambda _: None,
) -> NDArray[np.float64]:
    """How much switching off each head, alone, changes the log-probability of the targets, [L, H], in nats.

    Negative: without the head they are less probable, so it works for them.

    Args:
        model: A LanguageModel (its edits hold in every pass), or a GPTModel.
        token_ids: The text.
        targets: Position -> the token that should come next; the mean over them is taken. None: the model's own first
            choice after the last token.
        watch: Is told each layer that is done.

    Raises:
        TextError: There are no tokens.
        ConfigError: A target's position or token does not exist.
    """
    gpt, _, edits = unpack_model(model)
    config = gpt.config
    check_tokens(config, token_ids, "nothing to predict from")
    row_1T = torch.tensor([list(token_ids)], device=gpt.token_embedding.weight.device)
    with eval_mode(gpt), torch.inference_mode():
        plain_TV = gpt(row_1T, tap=with_edits(edits, gpt))[0]
        if targets is None:
            targets = {len(token_ids) - 1: int(plain_TV[-1].argmax())}
        for position, token in targets.items():
            if not 0 <= position < len(token_ids) or not 0 <= token < config.vocab_size:
                raise ConfigError(f"there is no position {position}, or no token {token}, to watch")
        places, tokens = list(targets), list(targets.values())
        # Rows of a batch round otherwise than a text alone: the unchanged text is one of them.
        effects = np.zeros((config.num_layers, config.num_heads))
        for layer in range(config.num_layers):
            tap = with_edits(edits, gpt, _AblateEachHead(layer, config.num_heads))
            hidden_BTD = gpt.hidden(row_1T.expand(config.num_heads + 1, -1), tap=tap)
            logits_BPV = tap_point(
                EditTap(edits, gpt, positions=places), "logits", gpt.output_layer(hidden_BTD[:, places])
            )
            logprobs_BPV = logits_BPV.double().log_softmax(-1)
            chosen_BP = logprobs_BPV[:, range(len(places)), tokens]
            effects[layer] = (chosen_BP[:-1] - chosen_BP[-1]).mean(-1).cpu().numpy()
            watch(layer)
    return effects


class _AblateEachHead:
    """In row b of the batch head b is switched off; the last row stays whole."""

    def __init__(self, layer: int, heads: int) -> None:
        self._name, self._heads = f"blocks.{layer}.attn.hook_z", heads

    def wants(self, name: str) -> bool:
        return name == self._name

    def __call__(self, name: str, tensor: Tensor) -> Tensor:  # noqa: ARG002
        z_BTHC = tensor.clone()
        heads = list(range(self._heads))
        z_BTHC[heads, :, heads] = 0
        return z_BTHC


def induction_scores(model: GPTModel | InspectableModel, token_ids: Sequence[int], period: int) -> NDArray[np.float64]:
    """How much each head looks at the token after the previous occurrence, [L, H], from 0 to 1.

    The mean is taken over the tokens that have been seen before.
    Source: Olsson et al. 2022, "In-context Learning and Induction Heads".

    Args:
        model: A LanguageModel (its edits are applied), or a GPTModel.
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
    gpt, _, edits = unpack_model(model)
    trace = capture(gpt, None, "", ids, names=("rot_q", "rot_k"), edits=edits)
    rows = np.arange(period, count)
    layers = range(trace.config.num_layers)
    return np.array([trace.attention(layer)[:, rows, rows - period + 1].mean(-1) for layer in layers], np.float64)
