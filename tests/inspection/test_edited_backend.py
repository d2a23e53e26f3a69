"""Edits hold on the native backend as they do in torch, with its weights and in its caches."""

from __future__ import annotations

import numpy as np
import pytest

import nextword
from nextword.engine.backend import NativeBackend
from nextword.errors import ConfigError
from nextword.files.tensors import RawTensor
from nextword.inspection.edited_backend import EditedBackend
from nextword.language_model import LanguageModel
from nextword.model.backend import stored_tensors
from tests.inspection.models import language_model, some_tokens
from tests.inspection.test_edits import several
from tests.oracle.cases import PRESETS


def native_model(plain: LanguageModel) -> LanguageModel:
    """The same weights on the native backend."""
    stored = stored_tensors(plain.model)
    tensors = {name: RawTensor(name, kind, shape, memoryview(data)) for name, (kind, shape, data) in stored.items()}
    return LanguageModel(NativeBackend(plain.config, tensors), plain.tokenizer, tensors=tensors)


@pytest.mark.parametrize("case", PRESETS)
def test_edits_in_the_engine_are_those_in_torch_however_the_text_is_cut(case: str) -> None:
    plain, ids = language_model(case), some_tokens(case)
    native = native_model(plain)
    for name, edits in several(plain, case).items():
        backend, torch_backend = native.edit(*edits).backend, plain.edit(*edits).backend
        assert (backend.name, torch_backend.name) == ("native", "torch")
        (expected,) = torch_backend.forward([ids], [torch_backend.new_cache(11)], "all")
        (whole,) = backend.forward([ids], [backend.new_cache(11)], "all")
        np.testing.assert_allclose(whole, expected, rtol=0, atol=5e-5, err_msg=name)
        cache = backend.new_cache(11)
        parts = [backend.forward([ids[start : start + 3]], [cache], "all")[0] for start in range(0, len(ids), 3)]
        np.testing.assert_allclose(np.concatenate(parts), whole, rtol=0, atol=5e-5, err_msg=name)
        if backend.bitwise_invariant:
            np.testing.assert_array_equal(np.concatenate(parts), whole, err_msg=name)
        assert backend.bitwise_invariant == (name not in ("pattern", "norm"))


def test_an_edited_model_of_a_native_one_runs_in_the_engine_and_shares_its_reference() -> None:
    lm = nextword.load()
    edited = lm.edit(nextword.ablate_head(0, 1))
    assert isinstance(edited.backend, EditedBackend)
    assert edited.backend.plain is lm.backend
    assert edited.edit(nextword.ablate_mlp(0)).backend.plain is lm.backend
    torch_edited = nextword.load(backend="torch").edit(nextword.ablate_head(0, 1))
    for unit in ("token", "word"):
        found, expected = (model.predict("To be, or not to", 5, unit=unit) for model in (edited, torch_edited))
        assert [one.text for one in found] == [one.text for one in expected]
        np.testing.assert_allclose([one.probability for one in found], [one.probability for one in expected], atol=1e-4)
    assert edited.score("To be, or not to be").nats == pytest.approx(
        torch_edited.score("To be, or not to be").nats, abs=1e-3
    )
    assert edited.reference is lm.reference
    edited.use_torch()
    assert (edited.backend.name, lm.backend.name, edited.backend.reason) == (
        "torch",
        "native",
        "lm.use_torch() was called; the model is edited",
    )


def test_a_cache_serves_equal_edits_and_no_others() -> None:
    lm = native_model(language_model("llama"))
    head, mlp = nextword.ablate_head(0, 1), nextword.ablate_mlp(1)
    edited = lm.edit(head).backend
    cache = edited.new_cache(8, origin=3)
    edited.forward([[1, 2, 3]], [cache])
    assert (cache.length, cache.origin, cache.fork().length) == (3, 3, 3)
    lm.edit(nextword.ablate_head(0, 1)).backend.forward([[4]], [cache])
    for other in (lm.backend, lm.edit(mlp).backend, lm.edit(head, mlp).backend):
        with pytest.raises(ConfigError, match="another edit of this one"):
            other.forward([[4]], [cache])
    with pytest.raises(ConfigError, match="another edit of this one"):
        edited.forward([[4]], [lm.backend.new_cache(8)])


def test_unembed_follows_edits_of_the_last_norm_and_the_logits() -> None:
    plain, ids = language_model("llama"), some_tokens("llama")
    edits = (nextword.scale("ln_final.hook_out", 2.0, positions=[3]), nextword.scale("logits", -1.0))
    rows = plain.trace(ids)["resid_post", 1]
    for lm in (plain, native_model(plain)):
        backend = lm.edit(*edits).backend
        assert isinstance(backend, EditedBackend)
        expected = -lm.backend.unembed(rows)
        expected[3] *= 2
        np.testing.assert_allclose(backend.unembed(rows, positions=range(len(rows))), expected, atol=1e-5)
        with pytest.raises(ConfigError, match="edited at some positions"):
            backend.unembed(rows)
