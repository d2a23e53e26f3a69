"""Finds a model's induction heads and shows what they are for.

    nextword pull smollm2
    python recipes/induction_heads.py smollm2 --out induction.png

Random tokens come twice in a row. The second time, the only way to know the next one is to look at the token after the
previous occurrence. Heads that look there are found by their attention and switched off, the strongest first; the same
number of other heads from the same layers are switched off for comparison. The loss on the repeat, on the first half
and a figure are what comes out; docs/lab-notes.md holds those of SmolLM2.

Source: Olsson et al. 2022, "In-context Learning and Induction Heads".
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from nextword import LanguageModel, Tokenizer, ablate_head, load
from nextword.errors import ConfigError, TextError
from nextword.figures import save_figure
from nextword.figures.canvas import finish, fonts_for, new_figure
from nextword.generation.sampling import log_softmax
from nextword.inspection.heads import induction_scores

COUNTS = (1, 3, 5, 10, 20)

Head = tuple[int, int]
"""Layer and head."""
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Loss:
    """Mean loss in nats a token."""

    first: float
    """Where the tokens are new."""
    repeat: float
    """Where they come again (without the first of them, which nothing tells)."""


@dataclass(frozen=True)
class Row:
    """What switching off so many heads does."""

    count: int
    induction: Loss
    """Without the strongest induction heads."""
    others: list[Loss]
    """Without other heads: one figure a draw."""


def repeated_tokens(tokenizer: Tokenizer, period: int, seed: int) -> list[int]:
    """Random tokens, all different, twice in a row; each is one that a text can hold.

    Raises:
        ConfigError: The vocabulary has fewer.
    """
    texts, chosen = tokenizer.vocabulary, list[int]()
    for token in np.random.default_rng(seed).permutation(tokenizer.vocab_size).tolist():
        if _is_ordinary(tokenizer, texts[token], token):
            chosen.append(token)
        if len(chosen) == period:
            return chosen + chosen
    raise ConfigError(f"this vocabulary has only {len(chosen)} ordinary tokens, {period} are needed")


def _is_ordinary(tokenizer: Tokenizer, text: str, token: int) -> bool:
    """Whether its text is read as this token again: no special one, and no fragment of a character."""
    try:
        return tokenizer.encode(text) == [token]
    except TextError:
        return False


def mean_scores(lm: LanguageModel, sequences: Sequence[list[int]]) -> Scores:
    """Induction scores over several sequences, [L, H]."""
    return np.mean([induction_scores(lm, ids, len(ids) // 2) for ids in sequences], axis=0)  # type: ignore[no-any-return]


def strongest(scores_LH: Scores) -> list[Head]:
    """All heads, the one with the highest score first."""
    return [divmod(int(place), scores_LH.shape[1]) for place in np.argsort(-scores_LH, axis=None, kind="stable")]


def loss_without(lm: LanguageModel, heads: Sequence[Head], sequences: Sequence[list[int]]) -> Loss:
    """The loss with these heads switched off."""
    edited = lm.edit(*(ablate_head(layer, head) for layer, head in heads))
    losses = []
    for ids in sequences:
        logprobs_TV = log_softmax(edited.trace(ids, names="logits")["logits"][:-1])
        losses.append(-logprobs_TV[range(len(ids) - 1), ids[1:]])
    period = len(sequences[0]) // 2
    means = np.mean(losses, axis=0)  # of the tokens from the second on
    return Loss(float(means[: period - 1].mean()), float(means[period:].mean()))


def other_heads(heads: Sequence[Head], spared: Sequence[Head], shape: tuple[int, ...], seed: int) -> list[Head]:
    """For each head a random other one of its layer; of any layer where that has none left.

    Args:
        heads: Those to find others for.
        spared: Those that are not taken.
        shape: Layers and heads of the model.
        seed: Of the draw.
    """
    taken = {*heads, *spared}
    free = [
        (i // shape[1], i % shape[1]) for i in np.random.default_rng(seed).permutation(shape[0] * shape[1]).tolist()
    ]
    free = [head for head in free if head not in taken]
    wanted = Counter(layer for layer, _ in heads)
    drawn = [head for layer, count in wanted.items() for head in [near for near in free if near[0] == layer][:count]]
    elsewhere = [head for head in free if head not in drawn]
    return drawn + elsewhere[: len(heads) - len(drawn)]


def measure(
    lm: LanguageModel, scores_LH: Scores, sequences: Sequence[list[int]], counts: Sequence[int], draws: int
) -> list[Row]:
    """Switches more and more heads off; shows how far it is."""
    order = strongest(scores_LH)
    spared = order[: max(counts)]
    rows = [Row(0, whole := loss_without(lm, [], sequences), [whole])]
    with Progress(transient=True) as progress:
        task = progress.add_task("switching heads off", total=len(counts) * (1 + draws))
        for count in counts:
            losses = []
            for heads in (
                order[:count],
                *(other_heads(order[:count], spared, scores_LH.shape, seed) for seed in range(draws)),
            ):
                losses.append(loss_without(lm, heads, sequences))
                progress.advance(task)
            rows.append(Row(count, losses[0], losses[1:]))
    return rows


def print_table(rows: Sequence[Row]) -> None:
    """One line for each number of heads."""
    print("loss in nats a token   induction heads off      others of the same layers off, repeat")
    print("           heads off   first half    repeat      mean    lowest   highest")
    for row in rows:
        others = [loss.repeat for loss in row.others]
        print(
            f"{row.count:20}   {row.induction.first:10.3f} {row.induction.repeat:9.3f} "
            f"{np.mean(others):9.3f} {min(others):9.3f} {max(others):9.3f}"
        )


def draw(scores_LH: Scores, rows: Sequence[Row], name: str, out: Path) -> None:
    """The map of scores beside the curves of the loss."""
    layers, heads = scores_LH.shape
    figure = new_figure(11, 4.6)
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    image = left.imshow(scores_LH.T, cmap="cividis", vmin=0, vmax=1, origin="lower", aspect="auto")
    left.set(xlabel="layer", ylabel="head", title="Attention to the token after the previous occurrence")
    left.set_xticks(range(0, layers, -(-layers // 16)))
    left.set_yticks(range(0, heads, -(-heads // 16)))
    figure.colorbar(image, ax=left, label="induction score", pad=0.02)
    counts = [row.count for row in rows]
    others = np.array([[f([loss.repeat for loss in row.others]) for f in (np.mean, min, max)] for row in rows])
    right.plot(
        counts, [row.induction.first for row in rows], ":", color="0.35", label="first half, induction heads off"
    )
    right.plot(
        counts, [row.induction.repeat for row in rows], "o-", color="#D55E00", label="repeat, induction heads off"
    )
    right.plot(
        counts, others[:, 0], "s--", color="#0072B2", label="repeat, others of the same layers off (mean, range)"
    )
    right.fill_between(counts, others[:, 1], others[:, 2], color="#0072B2", alpha=0.2, linewidth=0)
    right.set(xlabel="heads switched off", ylabel="loss, nats a token", xticks=counts, title="What they are for")
    right.set_ylim(0, 1.3 * right.get_ylim()[1])  # room for the legend
    right.legend(frameon=False, loc="upper left", fontsize=9)
    right.spines[["top", "right"]].set_visible(False)
    title = f"Induction heads of {name} ({layers} layers x {heads} heads)"
    save_figure(finish(figure, fonts_for(title), title), out)


def main() -> None:
    """Reads the command line, prints the figures and draws them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("model", nargs="?", default="smollm2", help="a path, a pulled name or a hub id")
    parser.add_argument("--period", type=int, default=50, help="random tokens before they come again")
    parser.add_argument("--seeds", type=int, default=3, help="random sequences")
    parser.add_argument("--draws", type=int, default=5, help="draws of other heads for comparison")
    parser.add_argument("--out", type=Path, default=Path("induction.png"))
    options = parser.parse_args()
    lm = load(options.model)
    sequences = [repeated_tokens(lm.tokenizer, options.period, seed) for seed in range(options.seeds)]
    scores_LH = mean_scores(lm, sequences)
    print("induction score: " + ", ".join(f"L{i}H{j} {scores_LH[i, j]:.2f}" for i, j in strongest(scores_LH)[:10]))
    counts = [count for count in COUNTS if 2 * count <= scores_LH.size]
    rows = measure(lm, scores_LH, sequences, counts, options.draws)
    print_table(rows)
    draw(scores_LH, rows, options.model, options.out)
    print(options.out)


if __name__ == "__main__":
    main()
