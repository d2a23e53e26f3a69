"""What public calls answer to values of other types: one line of the house, whatever is given wherever."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nextword
from nextword import ConfigError, GPTConfig, LanguageModel, NextwordError, Sampling, Tokenizer, TransformerBlock
from nextword.generation.other_names import OTHER_NAMES
from nextword.settings import GenerationSettings
from tests.inspection.models import language_model

DEFAULTS = dict(GenerationSettings())
LETTERS = Tokenizer.characters("abcdefgh ")
WRONG: list[Any] = [
    *(
        None,
        True,
        -1,
        0,
        10**40,
        1.5,
        math.nan,
        math.inf,
        -math.inf,
        1j,
        Decimal("0.5"),
        "",
        "x",
        "\ud800",
        b"x",
        "a\0b",
    ),
    *(
        [],
        [5],
        ["x"],
        [None],
        [[1, 2], [3]],
        (),
        (1, "x"),
        {},
        {"x": "y"},
        {5: math.nan},
        {None: None},
        {1, 2},
        object(),
    ),
    *(range(3), slice(None), len, int, iter([None]), NotImplemented, ..., Path("nowhere"), np.float64("nan")),
    *(np.array([]), np.array([1.5, 2.5]), np.array("x"), np.bool_(True), torch.tensor([1.5]), torch.eye(2)),
]


def model() -> LanguageModel:
    return language_model("llama")


def _edited(lm: LanguageModel) -> Callable[..., Any]:
    def edit(edits: Any) -> LanguageModel:
        return lm.edit(edits)

    edit.__qualname__ = "LanguageModel.edit"
    return edit


def calls(tmp_path: Path) -> Iterator[tuple[str, Callable[..., Any], dict[str, Any]]]:
    """Every public call with arguments that are right."""
    lm, edit = model(), nextword.scale("embed", 1.0)
    tokenizer, config, text = lm.tokenizer, lm.config, lm.tokenizer.decode([1, 2, 3])
    trace, prediction = lm.trace(text), lm.predict(text, 3)
    told = [{"role": "user", "content": text}]
    for name in ("generate", "stream"):
        yield f"lm.{name}", getattr(lm, name), {"text": text, "max_new_tokens": 1, "memory": None, **DEFAULTS}
    chatty = LanguageModel(lm.backend, tokenizer, chat_template="{{ messages[0].content }}")
    for name in ("chat", "stream_chat"):
        given = {"messages": told, "max_new_tokens": 1, "variables": {}, "memory": None, **DEFAULTS}
        yield f"lm.{name}", getattr(chatty, name), given
    about = {"provenance": {}, "card": "", "chat_template": "", "recommended": {}, "notes": ()}
    yield "LanguageModel", LanguageModel, {"backend": lm.backend, "tokenizer": tokenizer, **about, "tensors": None}
    yield "from_model", LanguageModel.from_model, {"model": lm.reference, "tokenizer": tokenizer, **about}
    yield "predict", lm.predict, {"text": text, "top": 3, "unit": "token", "overflow": "slide"}
    yield "score", lm.score, {"text": text, "stride": 2}
    yield "trace", lm.trace, {"text": text, "names": "embed", "layers": 0, "max_bytes": 10**6, "overflow": "slide"}
    yield "edit", _edited(lm), {"edits": edit}
    yield (
        "record",
        lm.record,
        {"texts": ["a"], "out": tmp_path / "acts", "names": "resid_post", "layers": 0, "positions": [0]},
    )
    record = lm.record(["ab"], tmp_path / "record", "resid_post")
    yield "Record", nextword.Record, {"path": tmp_path / "record"}
    yield "shards", record.shards, {"names": ["text"]}
    yield "attribute", lm.attribute, {"text": text, "target": 1, "overflow": "slide"}
    yield "save", lm.save, {"path": tmp_path / "saved", "precision": "auto", "files": {}}
    yield (
        "export",
        lm.export,
        {"path": tmp_path / "exported", "format": "huggingface", "precision": "auto"},
    )
    yield (
        "load",
        nextword.load,
        {
            "source": None,
            "backend": "auto",
            "device": "auto",
            "dtype": None,
            "precision": "auto",
            "threads": 1,
            "revision": None,
        },
    )
    yield (
        "generate",
        nextword.generate,
        {"model": lm.reference, "tokenizer": tokenizer, "start_text": text, "max_new_tokens": 1},
    )
    yield "compare", nextword.compare, {"before": lm, "after": lm, "text": text, "top": 2}
    places: dict[str, Any] = {"positions": [0], "heads": None}
    yield "scale", nextword.scale, {"name": "embed", "factor": 0.5, **places}
    yield "add", nextword.add, {"name": "embed", "vector": 0.5, **places}
    yield "set_value", nextword.set_value, {"name": "embed", "vector": 0.5, **places}
    yield "patch", nextword.patch, {"name": "embed", "trace": trace, **places}
    sweep = {"lm": lm, "clean": "ab", "corrupted": "ba", "metric": (1, 2), "name": "z", "layers": [0]}
    yield "patch_map", nextword.patch_map, {**sweep, "positions": [0], "heads": [0]}
    ablated = {"lm": lm, "text": "ab", "metric": (1, 2), "name": "z", "layers": [0], "by": "mean", "texts": ["ba"]}
    yield "ablate_map", nextword.ablate_map, {**ablated, "positions": [0], "heads": [0]}
    yield "ablate_head", nextword.ablate_head, {"layer": 0, "head": 0, "positions": [0]}
    yield "ablate_mlp", nextword.ablate_mlp, {"layer": 0, "positions": [0]}
    yield "ablate_layer", nextword.ablate_layer, {"layer": 0, "positions": [0]}
    yield "clamp", nextword.clamp, {"name": "embed", "low": 0.0, "high": 1.0, **places, "layers": None}
    yield "project_out", nextword.project_out, {"name": "embed", "direction": [1.0] * config.d_model, **places}
    yield "project_onto", nextword.project_onto, {"name": "embed", "direction": [1.0] * config.d_model, **places}
    yield "at", nextword.at, {"name": "embed", "layers": None, **places}
    yield "Edit.check", edit.check, {"config": config}
    yield "Edit.expand", edit.expand, {"config": config}
    yield "swap_embedding", nextword.swap_embedding, {"position": 0, "token_id": 1}
    yield "Edit.from_json", type(edit).from_json, {"values": edit.to_json()}
    yield "Sampling", Sampling, dict(Sampling())
    yield "words", Tokenizer.words, {"vocabulary": ["a", "b"], "unknown": None}
    yield "characters", Tokenizer.characters, {"text": "ab"}
    yield (
        "train_bpe",
        Tokenizer.train_bpe,
        {"texts": ["ab"], "vocab_size": 300, "special_tokens": ["<|x|>"], "show_progress": False},
    )
    yield "Tokenizer.load", Tokenizer.load, {"path": lm.save(tmp_path / "there")}
    yield (
        "from_str",
        Tokenizer.from_str,
        {"text": LETTERS.to_str(), "source": "here", "bos": None, "eos": None, "ends": ()},
    )
    yield "encode", LETTERS.encode, {"text": "ab", "special": False}
    yield "encode_start", LETTERS.encode_start, {"text": "ab"}
    yield "encode_batch", LETTERS.encode_batch, {"texts": ["ab"]}
    yield "refuse_longer", LETTERS.refuse_longer, {"text": "ab", "num_tokens": 4}
    yield "text_of", LETTERS.text_of, {"token_id": 1}
    yield "decode", LETTERS.decode, {"token_ids": [1]}
    yield "pieces", LETTERS.pieces, {"token_ids": [1]}
    yield "bytes_of", LETTERS.bytes_of, {"token_ids": [1], "continued": False}
    yield "special_id", LETTERS.special_id, {"token": "x"}
    yield "tensor", trace.tensor, {"key": ("pattern", 0)}
    yield "trace[]", trace.__getitem__, {"key": ("pattern", 0)}
    yield "residual", trace.residual, {"layer": 0}
    yield "attention", trace.attention, {"layer": 0, "head": 0}
    yield "lens", trace.lens, {"top": 2, "positions": [0], "lens": None}
    fitting = {"lm": lm, "texts": ["ab" * 20], "kind": "tuned", "steps": 1, "learning_rate": 0.01, "seed": 0}
    yield "fit_lens", nextword.fit_lens, fitting
    fitted = nextword.fit_lens(lm, ["ab" * 20], steps=1)
    yield "FittedLens.save", fitted.save, {"path": tmp_path / "lens", "half": False}
    yield "FittedLens.load", nextword.FittedLens.load, {"path": fitted.save(tmp_path / "kept-lens")}
    yield "attribution", trace.attribution, {"target": 1, "position": -1, "against": 2}
    yield "top", trace.top, {"position": -1, "top": 2}
    yield "backend_for", trace.backend_for, {}
    yield "check_weights", lm.check_weights, {"thoroughly": True}
    yield "Trace.save", trace.save, {"path": tmp_path / "trace"}
    yield (
        "Trace.load",
        nextword.Trace.load,
        {"path": trace.save(tmp_path / "kept"), "model": lm, "tokenizer": tokenizer},
    )
    yield "to_html", trace.to_html, {"path": None, "plain": None, "facts": None}
    yield "texts", prediction.texts, {"token_ids": [1]}
    yield "stages", prediction.stages, {"sampling": Sampling()}
    yield "GPTConfig", GPTConfig, config.to_dict()
    yield "from_dict", GPTConfig.from_dict, {"values": config.to_dict()}
    yield "replace", config.replace, {"d_ff": 8}
    yield "preset", GPTConfig.preset, {"name": "tiny", "vocab_size": 300, "context_length": 8}
    six = {"vocab_size": 9, "d_model": 4, "num_heads": 2, "num_layers": 1, "dropout": 0.0, "context_length": 8}
    yield "GPTModel", nextword.GPTModel, six
    yield (
        "TransformerBlock",
        TransformerBlock,
        {name: six[name] for name in ("d_model", "num_heads", "dropout", "context_length")},
    )
    yield "GPTModel.from_config", nextword.GPTModel.from_config, {"config": config, "initialized": True}
    yield "load_weights", lm.reference.load_weights, {"weights": lm.reference.weights()}
    yield "TransformerBlock.from_config", TransformerBlock.from_config, {"config": config, "layer": 0}
    yield "from_lesson", nextword.GPTModel.from_lesson, {"state_dict": {}, "num_heads": 2}


def test_no_call_answers_a_wrong_value_with_an_error_of_python_or_a_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    raw = []
    for called, call, right in calls(tmp_path):
        for name in right:
            for wrong in WRONG:
                try:
                    call(**{**right, name: wrong})
                except NextwordError as error:
                    if "\n" in error.message:
                        raw.append(f"{called}({name}={wrong!r}): {error}")
                except Exception as error:  # noqa: BLE001  each kind is what this looks for
                    raw.append(f"{called}({name}={wrong!r}): {type(error).__name__}: {error}")
    assert not raw, "\n".join(raw)


def test_every_public_call_is_walked(tmp_path: Path) -> None:
    walked = {inspect.unwrap(getattr(call, "__func__", call)).__qualname__ for _, call, _ in calls(tmp_path)}
    public = [getattr(nextword, name) for name in nextword.__all__ if name != "__version__"]
    classes = [one for one in public if inspect.isclass(one) and not issubclass(one, Exception)]
    methods = {
        (name, function)
        for one in classes
        for name, function in vars(one).items()
        if not name.startswith("_") and isinstance(function, classmethod) | inspect.isfunction(function)
    }
    found = {inspect.unwrap(getattr(function, "__func__", function)) for _, function in methods}
    found |= {inspect.unwrap(one) for one in public if inspect.isfunction(one)}
    takes = {one.__qualname__ for one in found if set(inspect.signature(one).parameters) - {"self", "cls", "fields"}}
    assert takes - walked == {
        *("FittedLens.check_model", "FittedLens.translate"),  # a backend, and its rows: called by the lens
        *(
            "GPTModel.forward",
            "GPTModel.hidden",
            "GPTModel.hidden_from",
            "TransformerBlock.forward",
        ),  # tensors, in the training's loop
        *("GPTConfig.lesson", "GPTConfig.gpt2", "GPTConfig.llama", "GPTConfig.qwen3"),  # all that they take are fields
        *("Sampling.draw", "Sampling.penalized"),  # arrays, for each token
        "Tokenizer.continuation_bytes",  # for each token
        "train",  # tests/training walks what it takes
        "Tokenizer.from_json",  # hands on to from_str
    }


def test_no_signature_shows_an_address(tmp_path: Path) -> None:
    """As help() prints it: no `<function f at 0x7f...>`, which tells nothing and is another one each time."""
    signatures = {called: str(inspect.signature(call)) for called, call, _ in calls(tmp_path)}
    assert "current_precision]" in str(inspect.signature(nextword.load))
    assert {called: text for called, text in signatures.items() if " at 0x" in text} == {}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda lm: lm.predict("ab", top="3"), "top is '3', it must be a whole number"),
        (lambda lm: lm.predict("ab", top=True), "top is True, it must be a whole number"),
        (lambda lm: lm.predict("ab", top=2.0), "top is 2.0, it must be a whole number"),
        (lambda lm: lm.generate("ab", max_new_tokens="3"), "max_new_tokens is '3', it must be a whole number"),
        (lambda lm: lm.generate("ab", max_new_tokens=-1), "max_new_tokens is -1, it must be 0 or more"),
        (lambda lm: lm.generate("ab", temperature="hot"), "temperature is 'hot', it must be a finite number"),
        (lambda lm: lm.generate("ab", temperature=math.inf), "temperature is inf, it must be a finite number"),
        (lambda lm: lm.generate("ab", top_p=None), "top_p is None, it must be a finite number"),
        (lambda lm: lm.generate("ab", top_k=2.5), "top_k is 2.5, it must be a whole number or None"),
        (lambda lm: lm.stream("ab", seed=1.5), "seed is 1.5, it must be a whole number or None"),
        (lambda lm: lm.stream("ab", stop=None), "stop is None, it must be a text or a list of texts"),
        (lambda lm: lm.stream("ab", stop=["a", 5]), "stop is ['a', 5], it must be a text or a list of texts"),
        (
            lambda lm: lm.stream("ab", logit_bias=[5]),
            "logit_bias is [5], it must be a mapping to finite numbers",
        ),
        (lambda lm: lm.stream("ab", logit_bias=None), "logit_bias is None, it must be a mapping to finite numbers"),
        (lambda lm: lm.stream("ab", speculative=1), "speculative is 1, it must be True or False"),
        (lambda lm: lm.stream("ab", memory=5), "memory is 5, it must be a Memory or None"),
        (lambda lm: lm.stream("ab", overflow=5), "overflow is 5, it must be slide or stop"),
        (lambda lm: lm.score("ab", stride="2"), "stride is '2', it must be a whole number or None"),
        (lambda lm: lm.tokenizer.encode(5), "text is 5, it must be a text"),
        (lambda lm: lm.tokenizer.decode("ab"), "token_ids is 'ab', it must be a list of whole numbers"),
        (lambda lm: nextword.compare(lm, None, "ab"), "after is None, it must be something that has predict"),
        (lambda lm: lm.save(""), "path is '', it must be a path"),
        (lambda lm: lm.trace([1, 2]).to_html(""), "path is '', it must be a path or None"),
        (lambda lm: nextword.load(5), "source is 5, it must be a path or None"),
        (lambda lm: nextword.load(["nextword"]), "source is ['nextword'], it must be a path or None"),
        (
            lambda lm: nextword.scale("embed", math.nan),
            "hook_embed is scaled by what is not finite, factor must be finite numbers",
        ),
        (lambda lm: nextword.patch("embed", {}), "trace is of type dict, it must be a Recording"),
        (
            lambda lm: nextword.ablate_head(0, 0, positions=5),
            "positions is 5, it must be a list of whole numbers or None",
        ),
        (lambda lm: lm.predict("ab", top=10**5000), "top is a number of 16,610 bits, it must be a whole number"),
        (
            lambda lm: GPTConfig.gpt2(d_model="x" * 99),
            f"GPTConfig.d_model is '{'x' * 35}..., it must be a whole number",
        ),
        (lambda lm: lm.from_model(5, lm.tokenizer), "model is 5, it must be a GPTModel"),
        (lambda lm: lm.from_model(lm.reference, lm.tokenizer, card=5), "card is 5, it must be a text"),
    ],
)
def test_what_a_value_is_and_what_it_must_be_is_said(call: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        call(model())
    assert caught.value.message == message


def test_numbers_of_numpy_are_taken_and_come_back_as_pythons() -> None:
    lm = model()
    text = lm.tokenizer.decode([1, 2, 3])
    plain = lm.generate(text, 4, seed=7, temperature=0.5, top_k=3, logprobs=2, logit_bias={1: 0.5})
    numpy = lm.generate(
        text,
        np.int64(4),
        seed=np.uint8(7),
        temperature=np.float32(0.5),
        top_k=np.int16(3),
        logprobs=np.int32(2),
        logit_bias={np.int64(1): np.float16(0.5)},
        speculative=np.bool_(True),
    )
    assert json.dumps(numpy.to_json()) == json.dumps(plain.to_json())
    assert len(lm.predict(text, np.int64(3))) == 3
    assert lm.score(text, np.int64(2)) == lm.score(text, 2)
    edit = nextword.scale(("resid_pre", np.int64(0)), np.float64(0.5), positions=np.arange(2), heads=None)
    assert edit == nextword.scale("blocks.0.hook_resid_pre", 0.5, positions=[0, 1])
    assert json.loads(json.dumps(edit.to_json()))["positions"] == [0, 1]
    assert json.dumps(GPTConfig.gpt2(d_model=np.int64(24)).to_dict()) == json.dumps(
        GPTConfig.gpt2(d_model=24).to_dict()
    )
    assert (
        LETTERS.decode(np.array([1, 2])) == LETTERS.decode(torch.tensor([1, 2])) == LETTERS.decode(iter([1, 2])) == "ab"
    )
    for half in (Fraction(1, 2), Decimal("0.5"), np.array(0.5), torch.tensor(0.5)):
        assert Sampling(half).temperature == 0.5  # type: ignore[arg-type]
    assert nextword.load(backend="torch", device=torch.device("cpu")).backend.name == "torch"  # type: ignore[arg-type]


def test_texts_that_come_one_by_one_are_held_against_their_type_as_they_come() -> None:
    with pytest.raises(ConfigError, match="one of the texts is 5"):
        Tokenizer.train_bpe(iter(["ab", 5]), 300)  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda lm: lm.generate("ab", max_tokens=3),
            "generate() has no setting max_tokens: max_new_tokens is how many",
        ),
        (lambda lm: lm.generate("ab", n_predict=3), "generate() has no setting n_predict: max_new_tokens is how many"),
        (
            lambda lm: lm.generate("ab", max_length=3),
            "generate() has no setting max_length: max_new_tokens is how many",
        ),
        (lambda lm: lm.stream("ab", num_beams=3), "stream() has no setting num_beams: there is no beam search here"),
        (lambda lm: lm.generate("ab", do_sample=False), "generate() has no setting do_sample: temperature=0 always"),
        (
            lambda lm: lm.generate("ab", repeat_penalty=2),
            "generate() has no setting repeat_penalty: repetition_penalty",
        ),
        (lambda lm: lm.generate("ab", top_n=2), "generate() has no setting top_n: logprobs=5 records five"),
        (lambda lm: lm.chat([], stop_sequences=["a"]), "chat() has no setting stop_sequences: stop takes strings"),
        (lambda lm: lm.predict("ab", topp=3), "predict() has no setting topp: did you mean top?"),
        (lambda lm: nextword.load(sauce="x"), "load() has no setting sauce: did you mean source?"),
        (lambda lm: nextword.load(quantize="q4"), "load() has no setting quantize; there are source, device"),
        (
            lambda lm: lm.from_model(lm.reference, lm.tokenizer, name="x"),
            "LanguageModel() has no setting name; there are",
        ),
    ],
)
def test_names_that_other_libraries_have_are_answered_with_those_of_this_one(
    call: Callable[[Any], Any], message: str
) -> None:
    with pytest.raises(TypeError) as caught:
        call(model())
    assert str(caught.value).startswith(message)


def test_what_other_libraries_call_otherwise_is_no_setting_here() -> None:
    assert not set(OTHER_NAMES) & {*DEFAULTS, "text", "messages", "max_new_tokens", "variables"}


def test_a_missing_argument_is_pythons_own_error() -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'text'"):
        model().predict()  # type: ignore[call-overload]
