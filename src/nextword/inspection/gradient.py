"""Gradient x input: which tokens of a text a prediction leans on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nextword.generation import html
from nextword.inspection.capture import check_tokens
from nextword.inspection.decomposition import Values
from nextword.inspection.edit_tap import EditTap
from nextword.inspection.edits import Edit
from nextword.inspection.lens import token_label, token_of
from nextword.model import GPTModel, eval_mode
from nextword.tokens import Piece, Tokenizer
from nextword.tokens.visible import shortened


@dataclass(frozen=True, eq=False, repr=False)
class Attribution:
    """How much a next token's logit leans on each token of the text, to first order; prints as a table."""

    text: str
    token_ids: tuple[int, ...]
    tokens: tuple[Piece, ...]
    """The tokens as a reader sees them; their texts are `#17` where there is no tokenizer."""
    scores: Values
    """Gradient times embedding, summed over the channels: [T], in logits. Positive speaks for the target."""
    target: int
    target_text: str
    logit: float
    dropped_tokens: int = 0
    """Older tokens of the text that did not fit into the context."""

    def __repr__(self) -> str:
        what = f"{self.target_text!r} ({self.target}) after {shortened(self.text)!r}"
        return f"<Attribution of {what}: logit {self.logit:.4f}, gradient x input>"

    def __str__(self) -> str:
        largest = float(np.abs(self.scores).max()) or 1.0
        lines = [repr(self)]
        for place, (piece, score) in enumerate(zip(self.tokens, self.scores, strict=True)):
            bar = "█" * round(20 * abs(score) / largest)
            lines.append(f"  {place:>4} {score:+9.4f} {bar:<20} {piece.label!r}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = [
            [str(place), piece.label, f"{score:+.4f}"]
            for place, (piece, score) in enumerate(zip(self.tokens, self.scores, strict=True))
        ]
        caption = f"gradient x input for {self.target_text} (logit {self.logit:.3f})"
        return html.table(["", "token", "score"], rows, caption)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "text": self.text,
            "method": "gradient x input",
            "target_id": self.target,
            "target": self.target_text,
            "logit": self.logit,
            "tokens": [
                {"id": piece.token_id, "text": piece.text, "part": piece.part, "parts": piece.parts, "score": score}
                for piece, score in zip(self.tokens, self.scores.tolist(), strict=True)
            ],
        }


def gradient_x_input(
    model: GPTModel,
    tokenizer: Tokenizer | None,
    text: str,
    token_ids: Sequence[int],
    target: int | str | None = None,
    edits: Sequence[Edit] = (),
) -> Attribution:
    """The gradient of a next token's logit with respect to each token's embedding, times the embedding.

    Shrikumar et al. 2016, arXiv:1605.01713. The embedding is the token's alone, without a learned position. Under
    edits it is the edited pass that is differentiated, at the embeddings that it reads.

    Args:
        model: The model; no gradient is left on its weights.
        tokenizer: Its tokenizer.
        text: The text.
        token_ids: Its tokens.
        target: The next token, its id or its text; None is the one that the model finds most probable.
        edits: Changes under which it runs.

    Raises:
        TextError: There are no tokens, one is not in the vocabulary, or the target is not one token.
        ContextOverflowError: There are more tokens than the model can look at.
        ConfigError: An edit does not fit the model.
    """
    config = model.config
    check_tokens(config, token_ids, "nothing to attribute a prediction to")
    ids = list(token_ids)
    chosen = None if target is None else token_of(target, tokenizer, config.vocab_size)
    for edit in edits:
        edit.check(config)

    with eval_mode(model), torch.inference_mode(False), torch.enable_grad():
        tap = _EmbeddingLeafTap(EditTap(edits, model))
        logits_V = _last_logits(model, ids, tap)
        chosen = int(logits_V.argmax()) if chosen is None else chosen
        logit = logits_V[chosen]
        [gradient_1TD] = torch.autograd.grad(logit, tap.leaf)
    scores = (gradient_1TD[0].double() * tap.leaf.detach()[0].double()).sum(-1).cpu().numpy()
    scores.flags.writeable = False
    pieces = [Piece(i, token_label(None, i)) for i in ids] if tokenizer is None else tokenizer.pieces(ids)
    label = token_label(tokenizer, chosen)
    return Attribution(text, tuple(ids), tuple(pieces), scores, chosen, label, float(logit.detach()))


class _EmbeddingLeafTap:
    """Applies the edits, and makes the embeddings that the pass reads a leaf of the graph of gradients."""

    leaf: Tensor

    def __init__(self, edits: EditTap) -> None:
        self._edits = edits

    def wants(self, name: str) -> bool:
        return name == "hook_embed" or self._edits.wants(name)

    def __call__(self, name: str, tensor: Tensor) -> Tensor:
        if self._edits.wants(name):
            tensor = self._edits(name, tensor)
        if name == "hook_embed":
            tensor = self.leaf = tensor.detach().clone().requires_grad_(True)
        return tensor


def _last_logits(model: GPTModel, ids: list[int], tap: _EmbeddingLeafTap) -> Tensor:
    ids_1T = torch.tensor([ids], device=model.token_embedding.weight.device)
    if tap.wants("logits"):
        return model(ids_1T, tap=tap)[0, -1]  # type: ignore[no-any-return]
    last_D = model.hidden(ids_1T, tap=tap)[0, -1]  # the head for one position, not for all
    return model.output_layer(last_D)  # type: ignore[no-any-return]
