"""Starting from a model that is there: all of its weights, or adapters beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import nextword
from nextword import GPTConfig, GPTModel, LanguageModel, Tokenizer
from nextword.errors import ConfigError, ModelFileError
from nextword.training import Event, Started, Stepped, TrainingRun, train
from nextword.training.adapters import load_adapter
from nextword.training.adapters.lora import lora_layers
from nextword.training.corpus.text import Document
from nextword.training.corpus.tokenized_text import TokenizedText
from nextword.training.planning.presets import LEARNING_RATES, fine_tuning
from nextword.training.run.evaluate import evaluate
from tests.conftest import Trained
from tests.training.sample_text import write_text

pytestmark = pytest.mark.usefixtures("undrawn")

NEW = "The dog ran in the park at noon. 부산은 바다가 아름다운 도시이다.\n" * 60
LEARNED, HELD_OUT = NEW[: int(len(NEW) * 0.9)], NEW[int(len(NEW) * 0.9) :]
SETTINGS: dict[str, Any] = {"steps": 25, "context_length": 16, "batch_size": 4, "learning_rate": 3e-3}
WAYS = pytest.mark.parametrize("rank", [None, 4], ids=["all weights", "adapters"])


def bits_of(lm: LanguageModel, window: int = 16) -> float:
    return evaluate(
        lm.model, TokenizedText.from_documents([Document("a", HELD_OUT)], lm.tokenizer), window
    ).bits_per_byte


def tuned(trained: Trained, directory: Path, rank: int | None = None, **settings: Any) -> TrainingRun:
    text = write_text(directory, NEW)
    return train(text, directory / "out", from_model=trained.path, lora_rank=rank, **{**SETTINGS, **settings})


@WAYS
def test_what_is_new_is_learned_and_the_base_stays_as_it_was(
    trained: Trained, tmp_path: Path, rank: int | None
) -> None:
    before = (trained.run.out / "model.safetensors").read_bytes()
    base, log = nextword.load(trained.path), list[Event]()
    run = tuned(trained, tmp_path, rank, watch=log.append, learning_rate=3e-3 if rank is None else 2e-2)
    start, end = bits_of(base), bits_of(nextword.load(run.out))
    assert end < (0.3 if rank is None else 0.65) * start
    assert run.validations[0]["step"] == 0  # what the base knows already
    assert run.validations[0]["bits_per_byte"] == pytest.approx(start, rel=1e-4)
    assert end == pytest.approx(min(look["bits_per_byte"] for look in run.validations), rel=1e-4)
    # The first step's loss is the base's own, on the new text: nothing is drawn anew.
    first = next(event.loss for event in log if isinstance(event, Stepped))
    learned = TokenizedText.from_documents([Document("a", LEARNED)], base.tokenizer)
    assert first == pytest.approx(evaluate(base.model, learned, 16).nats_per_token, rel=0.1)
    assert (trained.run.out / "model.safetensors").read_bytes() == before
    names = ["out", "out.adapter", "text.txt"] if rank else ["out", "text.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_tokenizer_and_architecture_are_the_bases_and_windows_may_be_shorter(trained: Trained, tmp_path: Path) -> None:
    run = tuned(trained, tmp_path, steps=2)
    for lm in (run.model, nextword.load(run.out)):
        assert lm.tokenizer.to_str() == trained.run.model.tokenizer.to_str()
        assert lm.config == nextword.load(trained.path).config
        assert lm.config.context_length == 32
    assert (run.plan.context_length, run.plan.vocab_size) == (16, trained.run.plan.vocab_size)
    assert (run.plan.preset, run.plan.weight_decay, run.plan.base) == ("from", 0.0, trained.path)


def test_the_adapter_on_the_base_computes_what_the_merged_model_does(trained: Trained, tmp_path: Path) -> None:
    run = tuned(trained, tmp_path, rank=4)
    base = nextword.load(trained.path)
    ids = torch.tensor([base.tokenizer.encode("The dog ran 부산은 바다가")])
    with torch.inference_mode():
        plain = base.model(ids)
        load_adapter(base.model, tmp_path / "out.adapter")
        adapted, merged = base.model(ids), nextword.load(run.out).model(ids)
    assert (adapted - merged).abs().max() < 1e-5 * merged.abs().max()
    assert (plain - merged).abs().max() > 0.1 * merged.abs().max()
    layers = dict(lora_layers(base.model))
    assert len(layers) == 4 * 7
    assert {(layer.lora.rank, layer.lora.alpha) for layer in layers.values()} == {(4, 8)}
    # Everything else stood still.
    for name in ("token_embedding.weight", "output_layer.weight", "blocks.0.ln1.weight"):
        assert torch.equal(run.model.model.weights()[name], trained.run.model.model.weights()[name])
    assert not list(lora_layers(run.model.model))


@WAYS
def test_a_run_that_was_broken_off_goes_on_bit_for_bit(trained: Trained, tmp_path: Path, rank: int | None) -> None:
    class BrokenOffError(Exception):
        pass

    def end(event: Event) -> None:
        if isinstance(event, Stepped) and event.step == 4:
            raise BrokenOffError

    settings = {"steps": 6, "dropout": 0.1}
    (tmp_path / "whole").mkdir()
    whole = tuned(trained, tmp_path / "whole", rank, **settings)
    with pytest.raises(BrokenOffError):
        tuned(trained, tmp_path, rank, watch=end, checkpoint_seconds=0, **settings)
    resumed = train([], tmp_path / "out", resume=True)
    assert resumed.state == whole.state
    assert resumed.plan == whole.plan
    assert (resumed.out / "model.safetensors").read_bytes() == (whole.out / "model.safetensors").read_bytes()
    if rank:
        adapters = [(run.out.with_name("out.adapter") / "adapter_model.safetensors") for run in (resumed, whole)]
        assert adapters[0].read_bytes() == adapters[1].read_bytes()


def test_the_provenance_says_where_the_model_comes_from(trained: Trained, tmp_path: Path) -> None:
    run = tuned(trained, tmp_path, rank=2, steps=2)
    about = nextword.load(run.out).provenance
    assert about["from"] == {"model": trained.path, "provenance": trained.run.model.provenance}
    assert (about["plan"]["base"], about["plan"]["lora_rank"]) == (trained.path, 2)
    assert about["text"]["characters"] == len(LEARNED)
    card = (run.out / "README.md").read_text(encoding="utf-8")
    assert f"{trained.path}, trained further" in card


def test_dropout_is_the_runs_and_not_the_models(trained: Trained, tmp_path: Path) -> None:
    losses = {}
    for dropout in (None, 0.0, 0.5):
        log = list[Event]()
        (tmp_path / str(dropout)).mkdir()
        run = tuned(trained, tmp_path / str(dropout), steps=1, dropout=dropout, watch=log.append)
        losses[dropout] = next(event.loss for event in log if isinstance(event, Stepped))
        assert run.model.config == nextword.load(trained.path).config
    assert losses[None] == losses[0.0] != losses[0.5]


def test_a_model_with_other_parts_is_tuned_too(tmp_path: Path) -> None:
    # Learned positions, biases, a head that shares the embedding, and characters for tokens.
    tokenizer = Tokenizer.characters(NEW)
    torch.manual_seed(0)
    config = GPTConfig.gpt2(tokenizer.vocab_size, 48, d_model=32, num_layers=2, num_heads=2)
    LanguageModel.from_model(GPTModel.from_config(config), tokenizer).save(tmp_path / "base")
    start = bits_of(nextword.load(tmp_path / "base"))
    run = train(write_text(tmp_path, NEW), tmp_path / "out", from_model=tmp_path / "base", **SETTINGS)
    assert run.model.config == nextword.load(tmp_path / "base").config
    assert bits_of(nextword.load(run.out)) < 0.8 * start
    assert run.model.model.output_layer.weight is run.model.model.token_embedding.weight


def test_without_settings_it_is_gentle(trained: Trained, tmp_path: Path) -> None:
    class StartedError(Exception):
        pass

    def stop(event: Event) -> None:
        if isinstance(event, Started):
            raise StartedError(event.plan)

    for rank in (None, 4):
        with pytest.raises(StartedError) as caught:
            train(write_text(tmp_path), tmp_path / "out", from_model=trained.path, lora_rank=rank, steps=1, watch=stop)
        plan = caught.value.args[0]
        derived = fine_tuning(32, 10_000, lora=rank is not None)
        assert {name: getattr(plan, name) for name in derived} == derived
        assert plan.learning_rate <= 0.25 * LEARNING_RATES["tiny"]


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"preset": "tiny"}, ConfigError, "preset cannot be chosen with from_model: the model has its own"),
        ({"vocab_size": 300}, ConfigError, "vocab_size cannot be chosen with from_model"),
        ({"context_length": 33}, ConfigError, "context_length is 33, the model can look at 32 tokens"),
        ({"lora_rank": 0}, ConfigError, "lora_rank is 0, it must be at least 1"),
        ({"from_model": "nowhere"}, ModelFileError, "there is no model at nowhere"),
    ],
    ids=str,
)
def test_what_does_not_go_with_a_model_is_refused(
    trained: Trained, tmp_path: Path, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    text = write_text(tmp_path, NEW)
    with pytest.raises(error, match=message):
        train(text, tmp_path / "out", **{"from_model": trained.path, "steps": 1, **settings})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.txt"]


def test_a_model_is_not_tuned_in_its_own_place(trained: Trained) -> None:
    before = (trained.run.out / "model.safetensors").read_bytes()
    with pytest.raises(ConfigError, match=r"the model that the run starts from(?m:$)"):
        train(trained.text, trained.path, from_model=trained.path, steps=1)
    assert (trained.run.out / "model.safetensors").read_bytes() == before
