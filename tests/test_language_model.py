"""LanguageModel: loaded, saved, and asked from many threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nextword
from nextword import Generation, GPTConfig, GPTModel, LanguageModel, Prediction, Tokenizer, generate, load
from nextword.errors import ConfigError, ContextOverflowError, ModelFileError, TextError
from nextword.generation import Score, TextStream, WordPrediction
from nextword.loading import choose_backend
from tests.generation.backends import LETTERS, SMALL, always, plain_logits, random_model

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
WORDS = Tokenizer.words(["hello", "world", "this", "is", "a", "test", "model", "GPT", "language", "AI"])


def model_of(name: str = "rotary positions", dtype: torch.dtype = torch.float32) -> GPTModel:
    return random_model(SMALL[name], dtype=dtype)


def language_model(name: str = "rotary positions", **about: Any) -> LanguageModel:
    return LanguageModel.from_model(model_of(name), LETTERS, **about)


def logits_of(lm: LanguageModel, text: str) -> Any:
    return lm.predict(text).logits


# -- loading -------------------------------------------------------------------------------------------------------


def test_a_path_that_does_not_exist_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError) as caught:
        load(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in caught.value.message
    assert "nextword train" in caught.value.hint


def test_a_file_and_an_empty_directory_are_no_models(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_bytes(b"no model")
    with pytest.raises(ModelFileError, match=r"notes\.txt is no model file"):
        load(str(file))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelFileError, match=r"config\.json"):
        load(tmp_path / "empty")


@pytest.mark.parametrize("name", SMALL)
def test_a_saved_model_loads_with_the_same_bits(tmp_path: Path, name: str) -> None:
    lm = language_model(name, provenance={"data": "없음", "steps": 3}, card="# A card, 한국어\n")
    assert lm.save(tmp_path / "saved") == tmp_path / "saved"
    loaded = load(tmp_path / "saved", backend="torch")
    assert logits_of(loaded, "a bad cab").tobytes() == logits_of(lm, "a bad cab").tobytes()
    assert loaded.config == lm.config
    assert loaded.tokenizer.vocabulary == LETTERS.vocabulary
    assert loaded.provenance == {"data": "없음", "steps": 3}
    assert loaded.card == "# A card, 한국어\n"
    assert loaded.generate("abc", 20, seed=1) == lm.generate("abc", 20, seed=1)
    for ours, theirs in zip(loaded.model.weights().values(), lm.model.weights().values(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_lessons_model_round_trips_with_its_words(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = GPTModel(10, d_model=128, num_heads=4, num_layers=4, dropout=0.1, context_length=10)
    LanguageModel.from_model(model, WORDS).save(tmp_path / "lesson")
    lm = load(tmp_path / "lesson")
    assert lm.config == GPTConfig.lesson(10, 128, 4, 4, 0.1, 10)
    assert np.array_equal(plain_logits(lm.model, [0, 1, 2, 3]), plain_logits(model, [0, 1, 2, 3]))
    assert str(lm.generate("hello world this is", 5, temperature=0)) == generate(model, WORDS, "hello world this is", 5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_saving_in_a_precision_rounds_as_torch_rounds(tmp_path: Path, dtype: str) -> None:
    lm = language_model()
    lm.save(tmp_path / "saved", dtype)
    loaded = load(tmp_path / "saved")
    for name, weight in loaded.model.weights().items():
        assert weight.dtype == torch.float32
        assert torch.equal(weight, lm.model.weights()[name].to(DTYPES[dtype]).float()), name


@pytest.mark.parametrize("dtype", [*DTYPES, "float64"])
def test_loading_in_a_dtype_computes_in_it(tmp_path: Path, dtype: str) -> None:
    lm = language_model()
    lm.save(tmp_path / "saved")
    wanted = {**DTYPES, "float64": torch.float64}[dtype]
    loaded = load(tmp_path / "saved", dtype=dtype, device="cpu")
    assert {weight.dtype for weight in loaded.model.weights().values()} == {wanted}
    logits = logits_of(loaded, "a bad cab")
    assert logits.dtype == np.float32
    difference = np.abs(logits - logits_of(lm, "a bad cab")).max()
    assert difference < {"float32": 1e-9, "float64": 1e-4, "float16": 0.05, "bfloat16": 0.5}[dtype]
    assert (difference > 1e-4) == (dtype in ("float16", "bfloat16"))


def test_a_wrong_dtype_device_or_backend_is_a_config_error(tmp_path: Path) -> None:
    path = language_model().save(tmp_path / "saved")
    with pytest.raises(ConfigError, match="there is no dtype 'int8'") as caught:
        load(path, dtype="int8")
    assert "bfloat16" in caught.value.hint
    with pytest.raises(ConfigError, match="device 'abacus' is not available here") as caught:
        load(path, device="abacus")
    assert "cpu" in caught.value.hint
    with pytest.raises(ConfigError, match="backend is 'abacus', it must be auto, native or torch"):
        load(path, backend="abacus")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="precision is 'int8', it must be auto, float32"):
        language_model().save(tmp_path / "other", "int8")
    with pytest.raises(ConfigError, match="a model directory cannot hold 'q8_0'") as caught:
        language_model().save(tmp_path / "other", "q8_0")
    assert caught.value.hint == "precisions: float32, float16, bfloat16"
    assert not (tmp_path / "other").exists()


def test_the_backend_says_which_it_is_and_why(tmp_path: Path) -> None:
    path = language_model().save(tmp_path / "saved")
    assert (load(path).backend.name, load(path).backend.reason) == (choose_backend().name, choose_backend().reason)
    assert load(path, backend="torch").backend.reason == "asked for"
    assert language_model().backend.reason == "a GPTModel was given"


def test_saving_never_replaces_what_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "thoughts.txt").write_text("precious", encoding="utf-8")
    with pytest.raises(ModelFileError, match="exists and is not a model"):
        language_model().save(tmp_path / "notes")
    assert (tmp_path / "notes" / "thoughts.txt").read_text(encoding="utf-8") == "precious"


# -- putting one together ------------------------------------------------------------------------------------------


def test_a_tokenizer_larger_than_the_model_is_refused_and_a_smaller_one_is_not() -> None:
    larger = Tokenizer.characters("abcdefghijklmnop")
    with pytest.raises(ConfigError, match="the tokenizer has 16 tokens, the model only 12"):
        LanguageModel.from_model(model_of(), larger)
    assert len(LanguageModel.from_model(model_of(), Tokenizer.characters("abc")).predict("a", 100)) == 12


def test_a_given_model_is_put_into_evaluation_mode() -> None:
    torch.manual_seed(1)
    model = GPTModel(12, 16, 4, 2, 0.5, 9).train()
    lm = LanguageModel.from_model(model, LETTERS)
    assert not model.training
    assert lm.model is lm.reference is model
    assert np.array_equal(logits_of(lm, "abc"), logits_of(lm, "abc"))


def test_a_model_that_trains_on_is_read_without_dropout_and_stays_in_its_mode() -> None:
    torch.manual_seed(1)
    model = GPTModel(12, 16, 4, 2, 0.5, 9)
    lm = LanguageModel.from_model(model, LETTERS)
    found = logits_of(lm, "abc"), lm.score("abcabc").nats, lm.generate("abc", 20, temperature=0).text
    model.train()
    model.blocks[1].eval()
    modes = [module.training for module in model.modules()]
    assert np.array_equal(logits_of(lm, "abc"), found[0])
    assert (lm.score("abcabc").nats, lm.generate("abc", 20, temperature=0).text) == found[1:]
    assert generate(model, LETTERS, "abc", 20) == "abc" + found[2]
    assert [module.training for module in model.modules()] == modes


def test_a_backend_without_a_gptmodel_says_so() -> None:
    lm = LanguageModel(always([0.5, 0.5]), Tokenizer.characters("ab"))
    with pytest.raises(ConfigError, match="the table backend holds no GPTModel"):
        _ = lm.model


def test_repr_says_size_shape_tokenizer_and_backend() -> None:
    lm = language_model()
    assert (
        repr(lm)
        == f"<LanguageModel {lm.config.num_parameters:,} parameters, 2 layers x 16, vocabulary of 12 characters, torch>"
    )
    assert lm.config.num_parameters == sum(weight.numel() for weight in lm.model.parameters())


# -- asking it -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
def test_predict_gives_torchs_softmax(name: str) -> None:
    lm = language_model(name)
    prediction = lm.predict("abc", top=12)
    with torch.no_grad():
        expected = torch.softmax(lm.model(torch.tensor([LETTERS.encode("abc")]))[0, -1], -1)
    assert isinstance(prediction, Prediction)
    assert sum(c.probability for c in prediction) == pytest.approx(1, abs=1e-9)
    assert [c.probability for c in prediction] == pytest.approx(
        expected.sort(descending=True).values.tolist(), abs=1e-6
    )
    for candidate in prediction:
        assert candidate.probability == pytest.approx(expected[candidate.token_id].item(), abs=1e-6)


def test_predict_knows_its_arguments() -> None:
    lm = language_model()
    assert (len(lm.predict("abc")), len(lm.predict("abc", 3)), len(lm.predict("abc", 99))) == (10, 3, 12)
    assert isinstance(lm.predict("abc", unit="word"), WordPrediction)
    for unit in ("token", "word"):
        with pytest.raises(ConfigError, match="top is 0, it must be at least 1"):
            lm.predict("abc", 0, unit=unit)  # type: ignore[call-overload]
        with pytest.raises(ContextOverflowError):
            lm.predict("abcdefgh. a", unit=unit, overflow="stop")  # type: ignore[call-overload]
        with pytest.raises(TextError):
            lm.predict("", unit=unit)  # type: ignore[call-overload]
    with pytest.raises(ConfigError, match="unit is 'sentence', it must be token or word"):
        lm.predict("abc", unit="sentence")  # type: ignore[call-overload]
    with pytest.raises(TextError, match="not in the vocabulary of 12 characters: 'z'"):
        lm.predict("abz")


def test_stream_generate_and_score_agree() -> None:
    lm = language_model()
    stream = lm.stream("abc", 25, seed=4)
    assert isinstance(stream, TextStream)
    written = lm.generate("abc", 25, seed=4)
    assert isinstance(written, Generation)
    assert "".join(stream) == written.text
    short = lm.generate("abc", 6, seed=4, logprobs=1)
    score = lm.score("abc" + short.text)
    assert isinstance(score, Score)
    assert short.logprobs is not None
    assert list(score.token_logprobs[3:]) == pytest.approx([item.logprob for item in short.logprobs], abs=1e-5)


def test_the_defaults_are_the_documented_ones() -> None:
    lm = language_model()
    cuts: dict[str, Any] = {"top_k": None, "top_p": 0.95, "min_p": 0.0, "repetition_penalty": 1.0}
    documented = lm.generate("abc", 40, temperature=0.8, **cuts, seed=3, stop=(), logprobs=0, overflow="slide")
    assert lm.generate("abc", seed=3) == documented
    assert len(documented.token_ids) == 40
    assert lm.generate("abc", seed=3, temperature=1.0) != documented
    assert lm.generate("abc", seed=3, top_p=0.4) != documented


@pytest.mark.parametrize("name", SMALL)
def test_four_threads_write_what_one_writes_after_another(name: str) -> None:
    lm = language_model(name)
    seeds = list(range(8))

    def write(seed: int) -> tuple[Generation, float, list[int]]:
        written = lm.generate("a bad cab", 60, seed=seed, temperature=1.2)
        ranked = [c.token_id for c in lm.predict(written.text)]
        return written, lm.score(written.text).nats, ranked

    alone = [write(seed) for seed in seeds]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(write, seeds))
    assert together == alone
    assert len({written.text for written, _, _ in together}) == 8


# -- the lesson's generate -----------------------------------------------------------------------------------------


def test_the_lessons_generate_refuses_a_function_as_tokenizer() -> None:
    with pytest.raises(ConfigError, match="tokenizer is of type function, it must be a Tokenizer"):
        generate(model_of(), lambda text: [0], "hello", 5)  # type: ignore[arg-type]


def test_the_lessons_generate_gives_start_text_and_greedy_continuation() -> None:
    lm = language_model()
    assert generate(lm.model, LETTERS, "abc", 30) == "abc" + lm.generate("abc", 30, temperature=0).text
    assert generate(lm.model, LETTERS, "abc", 0) == "abc"
    assert nextword.generate is generate
