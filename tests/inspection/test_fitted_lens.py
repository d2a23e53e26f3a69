"""Tuned and Jacobian lenses: against the logit lens, finite differences, and a fit whose answer is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import nextword
import nextword.loading
from nextword.errors import ConfigError, ModelFileError, TextError
from nextword.inspection.fitted_lens import FittedLens, default_lens_path, probe_logits
from nextword.inspection.lens import logit_lens
from nextword.inspection.lens_fitting import jacobian_sum, tuned_loss
from nextword.language_model import LanguageModel
from tests.inspection.models import language_model, some_tokens
from tests.oracle.cases import CASES

TEXT = "the cat sat on the mat and it was fat. a dog ran to the sea and back again. " * 40


@pytest.fixture
def lm() -> LanguageModel:
    return nextword.load()


def blank(lm: LanguageModel) -> FittedLens:
    L, D = lm.config.num_layers, lm.config.d_model
    weights, biases = np.zeros((L, D, D), np.float32), np.zeros((L, D), np.float32)
    return FittedLens("tuned", lm.config, weights, biases, probe_logits(lm.backend), 1, 1, np.ones(L), np.ones(L))


def test_identity_is_the_logit_lens_to_the_bit(lm: LanguageModel) -> None:
    trace = lm.trace("The children are playing in the")
    plain, read = trace.lens(3), trace.lens(3, lens=blank(lm))
    assert (plain.kind, read.kind) == ("logit", "tuned")
    for row in range(lm.config.num_layers + 1):
        assert np.array_equal(plain.logits(row), read.logits(row))
    assert np.array_equal(plain.kl, read.kl)
    assert plain.to_json() == {name: value for name, value in read.to_json().items() if name != "lens"}


def test_rows_are_read_behind_their_own_map_and_the_last_as_it_is(lm: LanguageModel) -> None:
    random, lens = np.random.default_rng(0), blank(lm)
    lens.weights[:] = random.normal(size=lens.weights.shape) / 16
    lens.biases[:] = random.normal(size=lens.biases.shape)
    trace = lm.trace("The children are playing in the")
    read, L = trace.lens(2, lens=lens), lm.config.num_layers
    for row in range(L):
        h_TD = trace.residual(row).astype(np.float64)
        mapped_TD = h_TD @ (np.eye(lm.config.d_model) + lens.weights[row].astype(np.float64)).T + lens.biases[row]
        expected_TV = lm.backend.unembed(mapped_TD.astype(np.float32))
        assert np.abs(read.logits(row) - expected_TV).max() < 1e-4
    assert np.array_equal(read.logits(L), trace.lens(2).logits(L))
    assert read.kl[L].max() == 0


@pytest.mark.parametrize("case", list(CASES)[:6])
def test_a_jacobian_is_what_finite_differences_say(case: str) -> None:
    model = language_model(case, torch.float64).reference
    ids = some_tokens(case, 5)
    skip, D = 1, model.config.d_model
    sums_LDD, count = jacobian_sum(model, ids, skip)
    assert count == len(ids) - skip

    class Shift:
        """Adds to one row at one position and keeps the last block's output."""

        def __init__(self, layer: int, position: int, shift_D: torch.Tensor) -> None:
            self.at, self.position, self.shift_D = f"blocks.{layer}.hook_resid_pre", position, shift_D
            self.last = f"blocks.{model.config.num_layers - 1}.hook_resid_post"

        def wants(self, name: str) -> bool:
            return name in (self.at, self.last)

        def __call__(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
            if name == self.at:
                tensor = tensor.clone()
                tensor[0, self.position] += self.shift_D
            if name == self.last:
                self.final_TD = tensor[0].detach()
            return tensor

    def final_of(layer: int, position: int, shift_D: torch.Tensor) -> torch.Tensor:
        tap = Shift(layer, position, shift_D)
        with torch.no_grad():
            model(torch.tensor([ids]), tap=tap)
        return tap.final_TD[skip:].sum(0)

    step = 1e-6
    for layer in range(model.config.num_layers):
        for channel in (0, D - 1):
            shift_D = torch.zeros(D, dtype=torch.float64)
            shift_D[channel] = step
            differences_D = sum(
                (final_of(layer, position, shift_D) - final_of(layer, position, -shift_D)) / (2 * step)
                for position in range(skip, len(ids))
            )
            assert np.abs(sums_LDD[layer, :, channel] - np.asarray(differences_D)).max() < 1e-6


def test_the_loss_is_kl_and_its_gradient_what_finite_differences_say() -> None:
    case = next(iter(CASES))
    model = language_model(case, torch.float64).reference
    D, V = model.config.d_model, model.config.vocab_size
    random = torch.Generator().manual_seed(0)
    row_ND = torch.randn((7, D), generator=random, dtype=torch.float64)
    final_NV = torch.randn((7, V), generator=random, dtype=torch.float64).log_softmax(-1)
    weight = (torch.randn((D, D), generator=random, dtype=torch.float64) / 9).requires_grad_(True)
    bias = torch.randn(D, generator=random, dtype=torch.float64).requires_grad_(True)
    loss = tuned_loss(model, row_ND, final_NV, weight, bias)
    mapped_ND = row_ND @ (torch.eye(D, dtype=torch.float64) + weight).T + bias
    p_NV, q_NV = final_NV.exp(), model.output_layer(model.ln_final(mapped_ND)).softmax(-1)
    assert abs(float(loss.detach() - (p_NV * (p_NV / q_NV).log()).sum(-1).mean().detach())) < 1e-12
    assert torch.autograd.gradcheck(lambda w, b: tuned_loss(model, row_ND, final_NV, w, b), (weight, bias))


def test_a_fit_lowers_the_divergence_on_text_it_has_not_seen(lm: LanguageModel, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    lens = nextword.fit_lens(lm, [TEXT], steps=6, learning_rate=3e-3, progress=lambda *now: seen.append(now))
    assert seen == [(step, 6) for step in range(1, 7)]
    assert lens.complete
    assert lens.held_out_tokens >= 64
    assert lens.kl_after.mean() < 0.8 * lens.kl_before.mean()
    again = FittedLens.load(lens.save(tmp_path / "lens.safetensors"))
    assert np.array_equal(again.weights, lens.weights)
    assert again.to_json() == lens.to_json()
    halved = FittedLens.load(lens.save(tmp_path / "half.safetensors", half=True))
    assert np.array_equal(halved.weights, lens.rounded().weights)
    assert np.abs(halved.weights - lens.weights).max() < 2**-11 * np.abs(lens.weights).max()


def test_an_interrupted_fit_is_a_lens_of_what_was_done(lm: LanguageModel) -> None:
    def stop(done: int, _: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    lens = nextword.fit_lens(lm, [TEXT], steps=100, progress=stop)
    assert not lens.complete
    assert np.abs(lens.weights).max() > 0
    trace = lm.trace("The children")
    assert trace.lens(1, lens=lens).kl[-1].max() == 0


def test_a_lens_is_refused_for_other_weights() -> None:
    case, other = list(CASES)[:2]
    lm = language_model(case)
    lens = blank(lm)
    trace = lm.trace(some_tokens(case, 4))
    trace.lens(1, lens=lens)
    with pytest.raises(ConfigError, match="fitted for another model"):
        logit_lens(language_model(other).trace(some_tokens(other, 4)), lens=lens)
    with torch.no_grad():
        lm.reference.output_layer.weight.mul_(1.01)
    with pytest.raises(ConfigError, match="fitted for other weights"):
        lm.trace(some_tokens(case, 4)).lens(1, lens=lens)


def test_both_backends_take_one_lens(lm: LanguageModel) -> None:
    lens = blank(lm)
    lens.check_model(nextword.load(backend="torch").backend)
    with pytest.raises(ConfigError, match="other weights"):
        replace(lens, probe=lens.probe * np.float32(1.001)).check_model(lm.backend)


@pytest.mark.parametrize(
    "text",
    [
        "My aunt lives in a small house by the river. In the morning she feeds the hens and then drinks her tea.",
        "우리 집 앞에는 작은 시장이 있어요. 아침마다 과일을 파는 아저씨가 웃으면서 인사를 합니다.",
    ],
)
def test_the_lens_that_ships_is_nearer_the_prediction_at_every_layer(lm: LanguageModel, text: str) -> None:
    path = default_lens_path(nextword.loading.DEFAULT_MODEL, "tuned")
    assert path.stat().st_size < 2e6
    lens, trace = FittedLens.load(path), lm.trace(text)
    plain, read = trace.lens(1).kl.mean(1), trace.lens(1, lens=lens).kl.mean(1)
    assert (read[:-1] < plain[:-1]).all()
    assert read[:-1].mean() < 0.65 * plain[:-1].mean()
    assert (lens.kl_after < 0.65 * lens.kl_before).all()


def test_what_cannot_be_fitted_or_read_is_said(lm: LanguageModel, tmp_path: Path) -> None:
    with pytest.raises(TextError, match="too short"):
        nextword.fit_lens(lm, ["a cat"])
    with pytest.raises(ConfigError, match="must be positive"):
        nextword.fit_lens(lm, [TEXT], steps=0)
    (tmp_path / "no.safetensors").write_bytes(b"none")
    with pytest.raises(ModelFileError, match="damaged"):
        FittedLens.load(tmp_path / "no.safetensors")
    path = blank(lm).save(tmp_path / "lens.safetensors")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ModelFileError, match="damaged"):
        FittedLens.load(path)
    assert default_lens_path(tmp_path, "tuned") == tmp_path / "lens/tuned.safetensors"
    assert default_lens_path(tmp_path / "m.gguf", "jacobian") == tmp_path / "m.lens/jacobian.safetensors"
