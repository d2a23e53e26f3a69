"""Before and after: what a change does to the prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from nextword.arguments import checked
from nextword.errors import ConfigError
from nextword.generation import Prediction, html
from nextword.generation.context import Prompt
from nextword.generation.sampling import log_softmax
from nextword.tokens.visible import shortened, visible


class Predicts(Protocol):
    """A LanguageModel, as far as a comparison needs one."""

    def predict(self, text: Prompt, top: int = ...) -> Prediction: ...  # noqa: D102


@dataclass(frozen=True)
class Change:
    """One token that may come next, before and after."""

    token_id: int
    text: str
    before: float
    """Its probability before the change."""
    after: float
    logit_change: float


class Comparison(Sequence[Change]):
    """Two predictions of the same text; prints as a table, what was most probable in either first.

    Attributes:
        before: The first model's prediction.
        after: The second's.
    """

    @checked
    def __init__(self, before: Prediction, after: Prediction) -> None:
        if before.prompt_token_ids != after.prompt_token_ids or len(before.logits) != len(after.logits):
            raise ConfigError("the two models read the text as different tokens, or have different vocabularies")
        self.before, self.after = before, after
        texts = {candidate.token_id: candidate.text for candidate in (*after, *before)}
        p, q = before.probabilities, after.probabilities
        order = sorted(texts, key=lambda token: (-max(p[token], q[token]), token))
        moved = after.logits.astype(np.float64) - before.logits
        self._rows = [Change(i, texts[i], float(p[i]), float(q[i]), float(moved[i])) for i in order]

    @cached_property
    def kl(self) -> float:
        """How far the prediction moved: KL(before || after), in nats; 0 if not at all."""
        first, second = log_softmax(self.before.logits), log_softmax(self.after.logits)
        weights = np.exp(first)
        seen = weights > 0
        return float(max(0.0, (weights[seen] * (first[seen] - second[seen])).sum()))

    def __getitem__(self, index: Any) -> Any:
        return self._rows[index]

    def __len__(self) -> int:
        return len(self._rows)

    def __str__(self) -> str:
        lines = [f"{'before':>8} {'after':>8} {'change':>8}"]
        for row in self:
            lines.append(f"{row.before:8.2%} {row.after:8.2%} {row.after - row.before:+8.2%}  {row.text!r}")
        return "\n".join([*lines, f"KL(before || after) = {self.kl:.4f} nats"])

    def __repr__(self) -> str:
        return f"<Comparison after {shortened(self.before.prompt)!r}: KL {self.kl:.4f} nats>"

    def _repr_html_(self) -> str:
        rows = [
            [visible(row.text), f"{row.before:.2%}", f"{row.after:.2%}", f"{row.after - row.before:+.2%}"]
            for row in self
        ]
        caption = f"after {self.before.prompt}: KL(before || after) = {self.kl:.4f} nats"
        return html.table(["next token", "before", "after", "change"], rows, caption)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "prompt": self.before.prompt,
            "kl": self.kl,
            "changes": [
                {
                    "token_id": row.token_id,
                    "text": row.text,
                    "before": row.before,
                    "after": row.after,
                    "logit_change": row.logit_change,
                }
                for row in self
            ],
        }


@checked
def compare(before: Predicts, after: Predicts, text: Prompt, top: int = 10) -> Comparison:
    """What comes next after a text in two models, usually one and its edited self.

    Args:
        before: The first model.
        after: The second, with the same tokenizer.
        text: The text to continue, or its token ids.
        top: How many candidates of each.

    Raises:
        ConfigError: They do not read the text as the same tokens.
        TextError: The text is empty, or cannot be encoded.
    """
    return Comparison(before.predict(text, top), after.predict(text, top))
