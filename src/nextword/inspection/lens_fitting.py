"""Fitting lenses, which takes gradients: the tuned lens and the Jacobian lens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nextword.arguments import checked
from nextword.config import GPTConfig
from nextword.errors import ConfigError, TextError
from nextword.generation.backend import Backend
from nextword.inspection.capture import TextToTrace, capture_all
from nextword.inspection.fitted_lens import FittedLens, LensKind, probe_logits
from nextword.inspection.inspectable import InspectableModel, unpack_backend
from nextword.inspection.lens import logit_lens
from nextword.model import GPTModel, eval_mode

Array = NDArray[Any]
Progress = Callable[[int, int], None]

STEPS: dict[LensKind, int] = {"tuned": 250, "jacobian": 8}
"""How long a fit goes on unless it is said."""
_LONGEST = 256
"""Tokens of a piece of text, at most."""
_BATCH_TOKENS = 512
_HELD_OUT_TOKENS = 4096
_SKIPPED = 16
"""First positions of a piece that a Jacobian is not averaged over: they attend as no later ones do."""


@checked
def fit_lens(
    lm: InspectableModel,
    texts: Iterable[str],
    kind: LensKind = "tuned",
    *,
    steps: int | None = None,
    learning_rate: float = 2e-3,
    seed: int = 0,
    progress: Progress | None = None,
) -> FittedLens:
    """Fits a lens for a model on texts, and measures it on a tenth of them that it does not see (4,096 tokens at most).

    The tuned lens (Belrose et al. 2023, arXiv:2303.08112) has an affine map for each row, which starts as the identity
    and is trained (Adam) so that what is read behind it, `unembed(h + h W^T + b)`, has the least KL divergence from the
    model's own prediction: KL(final || row). It shows what could be said at that layer already.

    The Jacobian lens (Gurnee et al. 2026, transformer-circuits.pub/2026/workspace) reads `unembed(J h)`, where J is the
    mean over texts and positions t of the sum over t' >= t of the derivatives of the last block's output at t' by the
    row at t. It shows what a row disposes the model to say, here and later, and is not made to agree with the
    prediction. The first 16 positions of a piece (a quarter of a short one) are left out, as sources and as targets.
    Earlier ones that replace the rest of a model by a linear map: Din et al. 2023, arXiv:2303.09435, by least squares;
    Hernandez et al. 2023, arXiv:2308.09124, by Jacobians.

    A KeyboardInterrupt ends the fit, not the program: what was fitted so far is measured and given back, `complete` is
    False. One before anything was fitted is raised.

    Args:
        lm: The model, without its edits. Gradients go through `lm.reference`; rows are what `lm.backend` computes.
        texts: What is read, in pieces of at most 256 tokens.
        kind: `tuned` or `jacobian`.
        steps: Batches of about 512 tokens; None is 250 for a tuned lens, 8 for a Jacobian one, whose batches each take
            D backward passes.
        learning_rate: Of the tuned lens at the start; it falls to zero in a straight line.
        seed: Of the order of the pieces.
        progress: Called with the steps that are done, and all.

    Raises:
        ConfigError: `steps` is below 1, `learning_rate` is not above 0 and at most 1, `seed` is below 0, or torch is
            not installed.
        TextError: There are not two pieces of text, one to fit on and one to measure on.
    """
    if kind not in get_args(LensKind):
        raise ConfigError(f"there is no lens {kind!r}", hint=f"kinds: {', '.join(get_args(LensKind))}")
    total = STEPS[kind] if steps is None else steps
    if total < 1 or not 0 < learning_rate <= 1:
        raise ConfigError("steps must be positive, and learning_rate above 0 and at most 1")
    if seed < 0:
        raise ConfigError(f"seed is {seed}, it must be at least 0")
    backend, _, _ = unpack_backend(lm)
    model, config = lm.reference, backend.config
    pieces = _pieces(
        config, [lm.tokenizer.encode_start(text) for text in ([texts] if isinstance(texts, str) else texts)]
    )
    if len(pieces) < 2:
        raise TextError("the text is too short to fit a lens on", hint="give some thousand words")
    random = np.random.default_rng(seed)
    order = [pieces[place] for place in random.permutation(len(pieces))]
    held_out, fitted = _split(order)
    batches = _batches(fitted, random)

    tokens, complete, done = 0, True, 0
    fit: Iterator[tuple[Array, Array, int]]
    if kind == "tuned":
        fit = _fit_tuned(backend, model, batches, total, learning_rate)
    else:
        fit = _fit_jacobian(model, batches, total)
    try:
        for maps in fit:
            weights, biases, read = maps
            tokens, done = tokens + read, done + 1
            if progress is not None:
                progress(done, total)
    except KeyboardInterrupt:
        if not done:
            raise
        complete = False
    unknown_L = np.full(config.num_layers, np.nan)
    tokens = min(tokens, sum(map(len, fitted)))
    counts = (tokens, sum(map(len, held_out)))
    lens = FittedLens(kind, config, weights, biases, probe_logits(backend), *counts, unknown_L, unknown_L, complete)
    return _measured(lens, backend, held_out)


def _pieces(config: GPTConfig, texts: Iterable[Sequence[int]]) -> list[list[int]]:
    longest = min(_LONGEST, config.context_length)
    return [
        list(ids[start : start + longest])
        for ids in texts
        for start in range(0, len(ids), longest)
        if start == 0 or len(ids) - start > 1
    ]


def _split(pieces: list[list[int]]) -> tuple[list[list[int]], list[list[int]]]:
    """A tenth to measure on, and the rest."""
    enough = min(_HELD_OUT_TOKENS, sum(map(len, pieces)) // 10)
    count, tokens = 0, 0
    while count == 0 or (tokens < enough and count < len(pieces) - 1):
        tokens += len(pieces[count])
        count += 1
    return pieces[:count], pieces[count:]


def _batches(pieces: list[list[int]], random: np.random.Generator) -> Iterator[list[list[int]]]:
    """Batches without end: all pieces, and then again in another order."""
    batch: list[list[int]] = []
    while True:
        for place in random.permutation(len(pieces)):
            batch.append(pieces[place])
            if sum(map(len, batch)) >= _BATCH_TOKENS:
                yield batch
                batch = []
        if batch:
            yield batch
            batch = []


def _rows(backend: Backend, pieces: Sequence[list[int]]) -> Array:
    """The residual stream of all tokens of pieces, row by row: [L + 1, N, D]."""
    L = backend.config.num_layers
    traces = capture_all(
        backend,
        None,
        [TextToTrace("", piece) for piece in pieces],
        names=["blocks.*.hook_resid_pre", f"blocks.{L - 1}.hook_resid_post"],
    )
    return np.concatenate([np.stack([trace.residual(row) for row in range(L + 1)]) for trace in traces], 1)


def tuned_loss(model: GPTModel, row_ND: Tensor, final_logp_NV: Tensor, weight_DD: Tensor, bias_D: Tensor) -> Tensor:
    """Mean KL(final || row) in nats behind an affine map, a scalar."""
    translated_ND = row_ND + torch.nn.functional.linear(row_ND, weight_DD, bias_D)
    head = model.output_layer.weight
    logits_NV = model.output_layer(model.ln_final(translated_ND.to(head.dtype))).to(row_ND.dtype)
    lacking_NV = final_logp_NV.exp() * (final_logp_NV - logits_NV.log_softmax(-1))
    loss: Tensor = lacking_NV.sum(-1).mean()
    return loss


def _fit_tuned(
    backend: Backend, model: GPTModel, batches: Iterator[list[list[int]]], steps: int, learning_rate: float
) -> Iterator[tuple[Array, Array, int]]:
    L, D = backend.config.num_layers, backend.config.d_model
    head = model.output_layer.weight
    maps = [torch.zeros(shape, device=head.device, requires_grad=True) for _ in range(L) for shape in ((D, D), (D,))]
    optimizer = torch.optim.Adam(maps, lr=learning_rate, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    weights, biases = np.zeros((L, D, D), np.float32), np.zeros((L, D), np.float32)
    for _ in range(steps):
        batch = next(batches)
        rows_RND = torch.from_numpy(np.ascontiguousarray(_rows(backend, batch), np.float32)).to(head.device)
        with eval_mode(model), torch.inference_mode(False), torch.enable_grad():
            with torch.no_grad():
                final_NV = model.output_layer(model.ln_final(rows_RND[L].to(head.dtype))).float().log_softmax(-1)
            for row in range(L):
                own = maps[2 * row : 2 * row + 2]
                loss = tuned_loss(model, rows_RND[row], final_NV, *own)
                for parameter, gradient in zip(own, torch.autograd.grad(loss, own), strict=True):
                    parameter.grad = gradient
        optimizer.step()
        schedule.step()
        weights = np.stack([one.detach().cpu().numpy() for one in maps[::2]])
        biases = np.stack([one.detach().cpu().numpy() for one in maps[1::2]])
        yield weights, biases, rows_RND.shape[1]


def _fit_jacobian(
    model: GPTModel, batches: Iterator[list[list[int]]], steps: int
) -> Iterator[tuple[Array, Array, int]]:
    L, D = model.config.num_layers, model.config.d_model
    total_LDD, count = np.zeros((L, D, D)), 0
    for _ in range(steps):
        batch = next(batches)
        for piece in batch:
            jacobian_LDD, sources = jacobian_sum(model, piece, min(_SKIPPED, len(piece) // 4))
            total_LDD += jacobian_LDD
            count += sources
        weights = (total_LDD / count - np.eye(D)).astype(np.float32)
        yield weights, np.zeros((L, D), np.float32), sum(map(len, batch))


class _RowsTap:
    """Keeps what each block reads and what the last one gives, on the graph of gradients."""

    def __init__(self, config: GPTConfig) -> None:
        self.names = [f"blocks.{layer}.hook_resid_pre" for layer in range(config.num_layers)]
        self.names.append(f"blocks.{config.num_layers - 1}.hook_resid_post")
        self.rows: dict[str, Tensor] = {}

    def wants(self, name: str) -> bool:
        return name in self.names

    def __call__(self, name: str, tensor: Tensor) -> Tensor:
        if name == self.names[0]:
            tensor = tensor.detach().clone().requires_grad_(True)
        self.rows[name] = tensor
        return tensor


def jacobian_sum(model: GPTModel, token_ids: Sequence[int], skip: int) -> tuple[Array, int]:
    """Summed over positions from `skip` on, the derivatives of all of the last block's outputs there by each row.

    Returns:
        [L, D, D], of each output channel by each channel of the row, float64; and the number of source positions.
    """
    L, D = model.config.num_layers, model.config.d_model
    tap = _RowsTap(model.config)
    ids_1T = torch.tensor([list(token_ids)], device=model.token_embedding.weight.device)
    sums_LDD = np.empty((L, D, D))
    with eval_mode(model), torch.inference_mode(False), torch.enable_grad():
        model.hidden(ids_1T, tap=tap)
        rows = [tap.rows[name] for name in tap.names]
        final_D = rows[-1][0, skip:].sum(0)
        for channel in range(D):
            gradients = torch.autograd.grad(final_D[channel], rows[:-1], retain_graph=channel < D - 1)
            for layer, gradient_1TD in enumerate(gradients):
                sums_LDD[layer, channel] = gradient_1TD[0, skip:].double().sum(0).cpu().numpy()
    return sums_LDD, len(token_ids) - skip


def _measured(lens: FittedLens, backend: Backend, pieces: Sequence[list[int]]) -> FittedLens:
    """The lens with what it and the logit lens lack on some pieces."""
    L = lens.config.num_layers
    names = ["blocks.*.hook_resid_pre", f"blocks.{L - 1}.hook_resid_post"]
    sums_2L, count = np.zeros((2, L)), 0
    for piece in pieces:
        [trace] = capture_all(backend, None, [TextToTrace("", piece)], names=names)
        for place, fitted in enumerate((None, lens)):
            sums_2L[place] += logit_lens(trace, 1, lens=fitted).kl[:L].sum(1)
        count += len(piece)
    return replace(lens, kl_before=sums_2L[0] / count, kl_after=sums_2L[1] / count)
