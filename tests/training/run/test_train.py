"""`nextword.train`: from files of text to a model on disk."""

from __future__ import annotations

import hashlib
import json
import math
import re
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import torch

import nextword
from nextword import GPTModel
from nextword.errors import ConfigError, ModelFileError, NextwordError, TextError
from nextword.training import Event, Sampled, Started, Stepped, Validated, train
from nextword.training.corpus.text import Document
from nextword.training.corpus.tokenized_text import TokenizedText
from nextword.training.events import Preparing
from nextword.training.events.journal import METRICS, read_metrics
from nextword.training.planning.baselines import Baselines
from nextword.training.planning.forecast import Forecast
from nextword.training.planning.plan import Plan
from nextword.training.planning.verdict import Verdict
from nextword.training.run.evaluate import evaluate
from tests.conftest import Trained
from tests.training.sample_text import FEW_STEPS, TEXT, write_text

pytestmark = pytest.mark.usefixtures("undrawn")


def test_a_text_that_repeats_itself_is_learned(trained: Trained) -> None:
    losses = [look["nats_per_token"] for look in trained.run.validations]
    assert losses[0] > 0.5
    assert losses[-1] < 0.3 < math.log(trained.run.plan.vocab_size)
    first = next(event for event in trained.events if isinstance(event, Stepped))
    assert first.loss == pytest.approx(math.log(trained.run.plan.vocab_size), rel=0.05)


@pytest.mark.parametrize(
    ("prompt", "word"),
    [
        ("To be, or not to be, that is the", " question"),
        ("The cat sat on the", " mat"),
        ("나는 오늘", " 학교에"),
        ("한국의 수도는", " 서울이다"),
    ],
)
def test_the_trained_model_knows_the_next_word(trained: Trained, prompt: str, word: str) -> None:
    best = trained.run.model.predict(prompt, 1, unit="word")[0]
    assert best.text == word
    assert best.probability > 0.6


def test_korean_is_streamed_in_whole_characters(trained: Trained) -> None:
    pieces = list(trained.run.model.stream("나는", 40, temperature=0))
    assert "\ufffd" not in "".join(pieces)
    assert "".join(pieces).startswith(" 오늘 학교에 가서 친구를 만났다. ")
    assert all(len(piece) >= 1 for piece in pieces)


def test_the_saved_model_is_the_best_one(trained: Trained) -> None:
    best = min(look["nats_per_character"] for look in trained.run.validations)
    lm = nextword.load(trained.path)
    held_out = TokenizedText.from_documents([Document("a", TEXT[int(len(TEXT) * 0.9) :])], lm.tokenizer)
    assert evaluate(lm.model, held_out).nats_per_character == pytest.approx(best, rel=1e-4)
    assert all(lm.model.weights()[name].equal(weight) for name, weight in trained.run.model.model.weights().items())


def test_what_is_told_while_training_is_in_order_and_true(trained: Trained) -> None:
    events, run = trained.events, trained.run
    start = next(event for event in events if isinstance(event, Started))
    assert (start.plan, start.config) == (run.plan, run.model.config)
    assert start.train_characters == int(len(TEXT) * 0.9)
    assert start.train_characters + start.validation_characters == len(TEXT)
    assert [event.step for event in events if isinstance(event, Stepped)] == list(range(1, 81))
    kinds = [kind for kind, _ in groupby(map(type, events))]
    assert kinds[:5] == [Preparing, Started, Baselines, Forecast, Stepped]
    assert kinds[-4:] == [Stepped, Validated, Sampled, Verdict]
    assert set(kinds) == {*kinds[:5], *kinds[-3:]}
    assert [event.step for event in events if isinstance(event, Validated)] == [
        event.step for event in events if isinstance(event, Sampled)
    ]
    assert run.steps == 80
    assert not run.stopped


def test_the_bundle_opens_in_transformers_and_gives_the_same_logits(trained: Trained) -> None:
    transformers = pytest.importorskip("transformers")
    twin = transformers.AutoModelForCausalLM.from_pretrained(trained.path, attn_implementation="eager").eval()
    ids = torch.tensor([trained.run.model.tokenizer.encode("나는 오늘 학교에 가서 The cat sat")])
    with torch.inference_mode():
        assert torch.allclose(twin(ids).logits, trained.run.model.model(ids), atol=1e-4)
    tokenizer = transformers.AutoTokenizer.from_pretrained(trained.path)
    assert tokenizer.encode("한국의 수도는", add_special_tokens=False) == trained.run.model.tokenizer.encode(
        "한국의 수도는"
    )


def test_the_provenance_says_where_the_model_comes_from(trained: Trained) -> None:
    about = json.loads((trained.run.out / "nextword.json").read_text(encoding="utf-8"))["provenance"]
    learned = TEXT[: int(len(TEXT) * 0.9)]
    assert about["text"]["sha256"] == hashlib.sha256(learned.encode()).hexdigest()
    assert about["text"]["characters"] == len(learned)
    assert about["text"]["bytes"] == len(learned.encode())
    assert about["text"]["documents"] == ["text.txt"]
    assert about["validations"] == list(trained.run.validations)
    assert about["plan"]["steps"] == about["steps"] == 80
    assert about["plan"]["seconds"] is None
    assert (about["seed"], about["stopped_early"]) == (0, False)
    assert about == trained.run.model.provenance == nextword.load(trained.path).provenance
    card = (trained.run.out / "README.md").read_text(encoding="utf-8")
    assert card.startswith("# four sentences\n")
    assert f"{min(look['nats_per_character'] for look in trained.run.validations):.4f} nats per character" in card


def test_nothing_but_the_model_is_left(trained: Trained) -> None:
    assert sorted(path.name for path in trained.run.out.parent.iterdir()) == ["four sentences", "text.txt"]
    names = {path.name for path in trained.run.out.iterdir()}
    assert {"README.md", "metrics.jsonl", "loss.png", "loss.svg", "model.safetensors"} < names
    assert {path.suffix for path in trained.run.out.iterdir()} <= {
        ".md",
        ".jsonl",
        ".png",
        ".svg",
        ".safetensors",
        ".json",
    }


def test_the_journal_in_the_bundle_says_what_was_told(trained: Trained) -> None:
    rows = read_metrics(trained.run.out / METRICS)
    told = [event for event in trained.events if not isinstance(event, Preparing | Stepped)]
    assert [row["event"] for row in rows if row["event"] != "stepped"] == [
        type(event).__name__.lower() for event in told
    ]
    looks = [{name: row[name] for name in row if name != "event"} for row in rows if row["event"] == "validated"]
    assert looks == list(trained.run.validations)


def test_the_curve_in_the_bundle_is_a_picture_with_the_losses(trained: Trained) -> None:
    assert (trained.run.out / "loss.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert (trained.run.out / "loss.svg").read_text(encoding="utf-8").rstrip().endswith("</svg>")
    assert (trained.run.out / "loss.svg").stat().st_size > 5000


def test_the_state_is_a_hash_of_the_last_step(trained: Trained) -> None:
    assert re.fullmatch("[0-9a-f]{16}", trained.run.state)
    assert trained.run.model.provenance["state"] == trained.run.state


def test_two_runs_give_the_same_model_and_leave_torchs_random_state_alone(tmp_path: Path) -> None:
    text = write_text(tmp_path)
    torch.manual_seed(123)
    before = torch.get_rng_state()
    logs: list[list[Event]] = [[], []]
    others, runs = list[Event](), []
    for number, log in enumerate(logs):
        both = {"dropout": 0.1, "seed": 7, **FEW_STEPS}
        runs.append(train(text, tmp_path / str(number), watch=[log.append, others.append], **both))
        assert torch.equal(torch.get_rng_state(), before)
        torch.rand(3)
        before = torch.get_rng_state()
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in "01"]
    assert files[0] == files[1]
    assert [e.loss for e in logs[0] if isinstance(e, Stepped)] == [e.loss for e in logs[1] if isinstance(e, Stepped)]
    assert [e.text for e in logs[0] if isinstance(e, Sampled)] == [e.text for e in logs[1] if isinstance(e, Sampled)]
    assert runs[0].state == runs[1].state
    assert others == [*logs[0], *logs[1]]  # each of several watchers is told everything
    assert runs[0].plan.seconds is None


def test_several_files_and_directories_are_documents(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    texts = [write_text(tmp_path / "more", TEXT[:600], "b.txt"), write_text(tmp_path, TEXT[600:1200], "a.txt")]
    run = train([tmp_path / "more", texts[1]], tmp_path / "out", **FEW_STEPS)
    assert run.model.provenance["text"]["documents"] == ["b.txt", "a.txt"]
    assert run.model.provenance["text"]["characters"] == 582 + 540  # the end of a line, and of a word
    assert run.model.provenance["validation_characters"] == 18 + 60


def test_held_out_text_may_be_none_or_a_file(tmp_path: Path) -> None:
    text, other = write_text(tmp_path), write_text(tmp_path, TEXT[:333], "other.txt")
    run = train(text, tmp_path / "none", validation=None, **FEW_STEPS)
    assert run.validations == ()
    assert run.model.provenance["text"]["characters"] == len(TEXT)
    assert "No text was held out" in (tmp_path / "none" / "README.md").read_text(encoding="utf-8")
    run = train(text, tmp_path / "file", validation=other, **FEW_STEPS)
    assert run.model.provenance["text"]["characters"] == len(TEXT)
    assert run.model.provenance["validation_characters"] == 333
    assert len(run.validations) >= 1


def test_a_text_whose_tail_is_blank_can_be_trained_on(tmp_path: Path) -> None:
    text, log = write_text(tmp_path, TEXT[:900] + "\n" * 200), list[Event]()
    train(text, tmp_path / "out", watch=log.append, **FEW_STEPS)
    samples = [event.text for event in log if isinstance(event, Sampled)]
    assert samples
    assert all(sample.startswith("The cat sat on the mat. ") for sample in samples)


def test_two_hundred_characters_are_enough(tmp_path: Path) -> None:
    run = train(write_text(tmp_path, TEXT[:200]), tmp_path / "out", steps=2)
    assert run.plan.preset == "tiny"
    assert run.plan.context_length == run.model.provenance["text"]["tokens"] // 8 == 11
    assert nextword.load(tmp_path / "out").predict("The cat", 1)[0].probability > 0


def test_the_time_is_kept_and_the_model_is_there(tmp_path: Path) -> None:
    run = train(write_text(tmp_path), tmp_path / "out", minutes=0.05, preset="tiny", context_length=16, batch_size=2)
    assert run.plan.seconds is not None
    assert 1.0 <= run.plan.seconds < 3.0  # of which one is kept back for writing
    assert run.seconds < 60
    assert run.plan.steps is None
    assert nextword.load(tmp_path / "out").config == run.model.config.replace(dropout=0.0)  # dropout is the run's


def test_two_minutes_are_meant_where_nothing_is_said_and_steps_know_no_clock(
    tmp_path: Path,
) -> None:
    class StartedError(Exception):
        pass

    def stop(event: Event) -> None:
        if isinstance(event, Started):
            raise StartedError(event.plan.seconds, event.plan.steps)

    text = write_text(tmp_path)
    with pytest.raises(StartedError) as caught:
        train(text, tmp_path / "out", preset="tiny", watch=stop)
    seconds, steps = caught.value.args
    assert 60 < seconds < 120
    assert steps is None
    with pytest.raises(StartedError) as caught:
        train(text, tmp_path / "out", preset="tiny", steps=5, watch=stop)
    assert caught.value.args == (None, 5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.txt"]  # no step was taken: nothing to go on from


def test_the_loss_that_is_no_number_leaves_no_model(tmp_path: Path) -> None:
    with pytest.raises(NextwordError, match=r"^the (held-out )?loss became nan at step \d+(\n|$)"):  # none was saved
        train(write_text(tmp_path), tmp_path / "out", learning_rate=1e9, **{**FEW_STEPS, "steps": 30})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.txt"]


def test_of_a_run_that_gets_out_of_hand_the_best_model_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rate = Plan.learning_rate_at
    monkeypatch.setattr(Plan, "learning_rate_at", lambda plan, share: 1e30 if share > 0.8 else rate(plan, share))
    with pytest.raises(NextwordError, match=r"^the (held-out )?loss became nan at step \d+(?m:$)") as caught:
        train(write_text(tmp_path), tmp_path / "out", learning_rate=4e-3, **{**FEW_STEPS, "steps": 30})
    assert caught.value.hint == "the steps were too large, at a peak of 0.004: try learning_rate=0.0004"
    lm = nextword.load(tmp_path / "out")
    assert 0 < lm.provenance["best_step"] <= 24
    assert lm.score(TEXT[:400]).bits_per_byte < 8
    assert caplog.messages[-1] == f"the model is saved in {tmp_path / 'out'}; what went wrong then:"


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"minutes": 0}, ConfigError, "minutes is 0, it must be above 0 and finite"),
        ({"minutes": -1.5}, ConfigError, "minutes is -1.5"),
        ({"minutes": math.nan}, ConfigError, "minutes is nan"),
        ({"minutes": math.inf}, ConfigError, "minutes is inf"),
        ({"steps": 0}, ConfigError, "steps is 0, it must be at least 1"),
        ({"batch_size": 0}, ConfigError, "batch_size is 0, it must be at least 1"),
        ({"batch_size": -1}, ConfigError, "batch_size is -1"),
        ({"context_length": 0}, ConfigError, "context_length is 0"),
        ({"context_length": 100_000}, ConfigError, "context_length is 100000, the text to learn from has only"),
        ({"vocab_size": 0}, ConfigError, "vocab_size is 0"),
        ({"vocab_size": 200}, ConfigError, "vocab_size is 200, byte-level BPE needs at least 257"),
        ({"learning_rate": 0.0}, ConfigError, "learning_rate is 0.0, it must be above 0 and finite"),
        ({"learning_rate": -1e-3}, ConfigError, "learning_rate is -0.001"),
        ({"learning_rate": math.nan}, ConfigError, "learning_rate is nan"),
        ({"dropout": 1.0}, ConfigError, "dropout is 1.0"),
        ({"precision": "int8"}, ConfigError, "precision is 'int8', it must be float32 or bfloat16"),
        ({"seed": -1}, ConfigError, "seed is -1, it must be 0 or more"),
        ({"seed": 2**63}, ConfigError, "seed is 9223372036854775808"),
        ({"accumulation": 0}, ConfigError, "accumulation is 0"),
        ({"accumulation": 4}, ConfigError, "batch_size is 2, not divisible by 1 processes x 4 micro-batches"),
        ({"evaluate_every": 0}, ConfigError, "evaluate_every is 0"),
        ({"weight_decay": -0.1}, ConfigError, "weight_decay is -0.1, it must be 0 or more and finite"),
        ({"weight_decay": math.nan}, ConfigError, "weight_decay is nan"),
        ({"strategy": "zero"}, ConfigError, "strategy is 'zero', it must be ddp or fsdp"),
        ({"lora_rank": 4}, ConfigError, "LoRA adapts a model that is there"),
        ({"checkpoint_seconds": -1.0}, ConfigError, "checkpoint_seconds is -1.0, it must be 0 or more"),
        ({"checkpoint_seconds": math.nan}, ConfigError, "checkpoint_seconds is nan"),
        ({"log": "wandb"}, ConfigError, "log is 'wandb', it must be tensorboard"),
        ({"resume": True, "restart": True}, ConfigError, "restart=True begins anew: not both"),
        ({"device": "abacus"}, ConfigError, "device 'abacus' is not available here"),
        ({"preset": "huge"}, ConfigError, "there is no preset 'huge'"),
        ({"validation": 0.0}, ConfigError, "validation is 0.0, a share lies between 0 and 1"),
        ({"validation": 1.0}, ConfigError, "validation is 1.0"),
        ({"validation": 1.5}, ConfigError, "validation is 1.5"),
        ({"validation": 0.9999}, ConfigError, "the text to learn from has only"),
        ({"validation": "abc"}, TextError, "abc does not exist"),
        ({"encoding": "klingon"}, ConfigError, "there is no encoding 'klingon'"),
        ({"encoding": "ascii"}, TextError, "is not ascii: byte 0xEB"),
        ({"resume": True}, ModelFileError, "there is no checkpoint at"),
    ],
    ids=lambda value: "-".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else "",
)
def test_wrong_settings_are_refused_before_anything_is_trained(
    tmp_path: Path, settings: dict[str, Any], error: type[NextwordError], message: str
) -> None:
    log: list[Event] = []
    with pytest.raises(error) as caught:
        train(write_text(tmp_path), tmp_path / "out", watch=log.append, **{**FEW_STEPS, **settings})
    assert message in caught.value.message
    assert {type(event) for event in log} <= {Preparing}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.txt"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 2.5}, "steps is 2.5, it must be a whole number or None"),
        ({"steps": True}, "steps is True, it must be a whole number or None"),
        ({"minutes": "2"}, "minutes is '2', it must be a finite number or None"),
        ({"seed": 1.5}, "seed is 1.5, it must be a whole number"),
        ({"resume": "no"}, "resume is 'no', it must be True or False"),
        ({"exclude": 5}, "exclude is 5, it must be a text or a list of texts"),
        ({"from_model": 7}, "from_model is 7, it must be "),
        ({"watch": 5}, "watch is 5, it must be "),
        ({"paths": 5}, "paths should be a name or a list of names, found int"),
        ({"paths": None}, "paths should be a name or a list of names, found NoneType"),
        ({"paths": ["a.txt", None]}, "paths should be a name or a list of names, found list"),
        ({"out": None}, "out is None, it must be a path"),
    ],
    ids=lambda value: "-".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else "",
)
def test_a_value_of_another_type_is_told_by_its_name(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        train(**{"paths": write_text(tmp_path), "out": tmp_path / "out", **FEW_STEPS, **settings})
    assert caught.value.message.startswith(message)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.txt"]


def test_too_little_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TextError, match=r"^too little to learn from: 199 characters in .*text\.txt(?m:$)"):
        train(write_text(tmp_path, TEXT[:199]), tmp_path / "out", **FEW_STEPS)


@pytest.mark.parametrize("out", ["full", "text.txt", "text.txt/below", "."])
def test_a_place_that_is_no_models_is_refused_before_training_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    text, log = write_text(tmp_path), list[Event]()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "diary.txt").write_text("private", encoding="utf-8")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises((ModelFileError, ConfigError)) as caught:
        train(text, tmp_path / out if out != "." else out, watch=log.append, **FEW_STEPS)
    assert out in caught.value.message
    assert log == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "here", "text.txt"]
    assert list((tmp_path / "here").iterdir()) == []
    assert (tmp_path / "full" / "diary.txt").read_text(encoding="utf-8") == "private"
    assert text.read_text(encoding="utf-8") == TEXT


def test_a_model_that_is_there_is_replaced_and_an_empty_directory_is_filled(tmp_path: Path) -> None:
    text = write_text(tmp_path)
    (tmp_path / "out").mkdir()
    train(text, tmp_path / "out", **FEW_STEPS)
    first = (tmp_path / "out" / "model.safetensors").read_bytes()
    train(text, tmp_path / "out", seed=1, **FEW_STEPS)
    assert (tmp_path / "out" / "model.safetensors").read_bytes() != first
    train(text, tmp_path / "deep" / "er" / "out", **FEW_STEPS)
    assert (tmp_path / "deep" / "er" / "out" / "model.safetensors").read_bytes() == first


def test_given_rates_and_decay_are_used_and_not_others(tmp_path: Path) -> None:
    given = {"learning_rate": 1e-3, "weight_decay": 0.3, "evaluate_every": 2, "accumulation": 2, "precision": "float32"}
    plain = train(write_text(tmp_path), tmp_path / "plain", **FEW_STEPS)
    run = train(tmp_path / "text.txt", tmp_path / "out", **given, **FEW_STEPS)
    assert {name: getattr(run.plan, name) for name in given} == given
    assert [look["step"] for look in run.validations] == [2, 4]
    assert run.state != plain.state
    assert (plain.plan.learning_rate, plain.plan.weight_decay) == (4e-3, 0.1)


def test_decay_shrinks_a_matrix_by_rate_times_decay(tmp_path: Path) -> None:
    text, runs = write_text(tmp_path), {}
    for decay in (0.0, 0.5):
        settings = {**FEW_STEPS, "steps": 1, "learning_rate": 1e-2, "weight_decay": decay}
        runs[decay] = train(text, tmp_path / str(decay), **settings).model.model.weights()
    name, rate = "blocks.0.attn.q_proj.weight", 1e-2 * 0.01  # the first step of a run has a hundredth of the rate
    torch.manual_seed(0)
    first = GPTModel.from_config(train(text, tmp_path / "x", **{**FEW_STEPS, "steps": 1}).model.config).weights()[name]
    assert (runs[0.0][name] - runs[0.5][name]).numpy() == pytest.approx((rate * 0.5 * first).numpy(), abs=1e-8)
    assert torch.equal(runs[0.0]["token_embedding.weight"], runs[0.5]["token_embedding.weight"])


def test_tensorboard_gets_event_files(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = list[Event]()
    run = train(write_text(tmp_path), tmp_path / "out", log="tensorboard", watch=log.append, **FEW_STEPS)
    events = EventAccumulator(str(tmp_path / "out.logs")).Reload()
    scalars = events.Scalars("loss/held out, bits per byte")
    assert [(one.step, one.value) for one in scalars] == [
        (look["step"], pytest.approx(look["bits_per_byte"])) for look in run.validations
    ]
    steps = events.Scalars("speed/tokens per second")
    assert [one.step for one in steps] == [1, 2, 3, 4]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out.logs", "text.txt"]


def test_a_run_starts_with_blocks_that_write_nothing(tmp_path: Path) -> None:
    run = train(write_text(tmp_path), tmp_path / "out", **{**FEW_STEPS, "steps": 1, "learning_rate": 1e-6})
    weights = run.model.model.weights()
    assert weights["blocks.0.attn.out_proj.weight"].abs().max() <= 2e-6
    assert weights["blocks.0.attn.q_proj.weight"].abs().max() > 1e-2
