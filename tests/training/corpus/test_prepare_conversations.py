"""Conversations: only answers are learned and judged, and the model then answers."""

from __future__ import annotations

import gzip
import io
import json
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer as RawTokenizer

import nextword
from nextword import GPTConfig, GPTModel, LanguageModel, Tokenizer
from nextword.errors import ConfigError, TextError
from nextword.training import Event, Sampled, Stepped, train
from nextword.training.corpus.prepare_conversations import holds_conversations, prepare_conversations
from tests.tokens.chat.chatting import CHATML
from tests.training.sample_text import FEW_STEPS, TEXT, write_text

pytestmark = pytest.mark.usefixtures("undrawn")

ANSWER = "네, 서울이다 🙂. The cat sat."
SETTINGS: dict[str, Any] = {"steps": 40, "context_length": 48, "batch_size": 4, "learning_rate": 4e-3}


def talks(count: int) -> list[list[dict[str, str]]]:
    """Questions that nobody can foretell, each with the same answer."""
    rng = random.Random(1)  # noqa: S311  (no secret)
    questions = ["".join(rng.choices("abcdefgh가나다라 ", k=12)).strip() for _ in range(count)]
    return [[{"role": "user", "content": q}, {"role": "assistant", "content": ANSWER}] for q in questions]


def write_talks(path: Path, count: int = 40) -> Path:
    path.parent.mkdir(exist_ok=True)
    lines = [
        json.dumps({"messages": talk, "id": number}, ensure_ascii=False) for number, talk in enumerate(talks(count))
    ]
    data = ("\n".join(lines) + "\n").encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, _one_thread: None) -> str:
    """A model that can be chatted with, and knows nothing yet."""
    raw = Tokenizer.train_bpe([TEXT, ANSWER], 330, special_tokens=["<|im_start|>", "<|im_end|>"]).to_str()
    tokenizer = Tokenizer(RawTokenizer.from_str(raw), eos="<|im_end|>")
    torch.manual_seed(0)
    model = GPTModel.from_config(GPTConfig.preset("tiny", tokenizer.vocab_size, 96))
    out = tmp_path_factory.mktemp("chat") / "base"
    LanguageModel.from_model(model, tokenizer, chat_template=CHATML).save(out)
    return str(out)


def weighted_loss(lm: LanguageModel, ids: np.ndarray[Any, Any], weights: np.ndarray[Any, Any], window: int) -> float:
    """Nats of the tokens with a weight, in windows that do not overlap: the plain definition."""
    total = 0.0
    for start in range(0, len(ids) - 1, window):
        piece = torch.from_numpy(ids[start : start + window + 1].astype(np.int64))
        with torch.inference_mode():
            losses = F.cross_entropy(lm.model(piece[None, :-1])[0], piece[1:], reduction="none")
        total += float(losses @ torch.from_numpy(weights[start + 1 : start + window + 1].astype(np.float32)))
    return total


def test_a_model_learns_to_answer_and_not_to_ask(base: str, tmp_path: Path) -> None:
    log = list[Event]()
    run = train(write_talks(tmp_path / "chat.jsonl"), tmp_path / "out", from_model=base, watch=log.append, **SETTINGS)
    looks = run.validations
    assert looks[0]["nats_per_character"] > 1
    assert looks[-1]["nats_per_character"] < 0.1  # questions cannot be foretold: they are not counted
    assert run.model.provenance["validation_characters"] == 4 * len(ANSWER)  # every tenth of 40
    assert run.model.provenance["text"]["characters"] == 36 * len(ANSWER)
    assert run.model.provenance["text"]["document_count"] == 40
    lm = nextword.load(run.out)
    assert lm.chat_template == CHATML
    generation = lm.chat([{"role": "user", "content": "abc 가나"}], temperature=0)
    assert (generation.text, generation.finish_reason) == (ANSWER, "stop")
    assert [event.step for event in log if isinstance(event, Stepped)] == list(range(1, 41))
    samples = [event for event in log if isinstance(event, Sampled)]
    assert [event.step for event in samples] == [look["step"] for look in looks]
    assert samples[-1].text.startswith(ANSWER)  # to the first question that was held out


def test_the_held_out_loss_is_that_of_the_answers_alone(base: str, tmp_path: Path) -> None:
    chat = write_talks(tmp_path / "chat.jsonl")
    look = train(chat, tmp_path / "out", from_model=base, **{**SETTINGS, "steps": 1}).validations[0]
    assert look["step"] == 0  # of the base
    lm = nextword.load(base)
    prepared = prepare_conversations(tmp_path / "data", [chat], lm, validation=0.1, encoding=None)
    assert prepared.validation is not None
    weights = prepared.validation.weights
    assert weights is not None
    tokens = np.asarray(prepared.validation.tokens)
    answers = lm.tokenizer.decode(tokens[weights == 1].tolist()).split("<|im_end|>")
    assert answers == [ANSWER] * 4 + [""]
    held_out = [talk for number, talk in enumerate(talks(40)) if number % 10 == 9]
    assert tokens.tolist() == [
        token for talk in held_out for token in lm.template.encode(talk, add_generation_prompt=False)
    ]
    expected = weighted_loss(lm, tokens, weights, 48)
    assert look["nats_per_token"] == pytest.approx(expected / weights[1:].sum(), rel=1e-4)
    assert look["nats_per_character"] == pytest.approx(expected / (4 * len(ANSWER)), rel=1e-4)


def test_only_answers_have_a_gradient(base: str, tmp_path: Path) -> None:
    # The answers are learned by heart; a question's letters are as improbable afterwards as they were at first.
    run = train(write_talks(tmp_path / "chat.jsonl.gz"), tmp_path / "out", from_model=base, **SETTINGS)
    lm = nextword.load(base)
    ids = lm.template.encode(talks(1)[0], add_generation_prompt=False)
    where = slice(ids.index(lm.tokenizer.encode("user")[0]) + 2, None)
    for each in (lm, run.model):
        with torch.inference_mode():
            losses = F.cross_entropy(each.model(torch.tensor([ids[:-1]]))[0], torch.tensor(ids[1:]), reduction="none")
        question = float(losses[where][:8].mean())
        assert question > 4


def test_held_out_conversations_may_be_a_file_or_none(base: str, tmp_path: Path) -> None:
    chat, other = write_talks(tmp_path / "chat.jsonl", 8), write_talks(tmp_path / "other.jsonl", 3)
    settings = {**SETTINGS, "steps": 2}
    run = train(chat, tmp_path / "file", from_model=base, validation=other, **settings)
    assert run.model.provenance["validation_characters"] == 3 * len(ANSWER)
    assert run.model.provenance["text"]["characters"] == 8 * len(ANSWER)
    run = train(chat, tmp_path / "none", from_model=base, validation=None, lora_rank=2, **settings)
    assert run.validations == ()
    assert (tmp_path / "none.adapter" / "adapter_model.safetensors").exists()


def test_a_run_on_conversations_goes_on_bit_for_bit(base: str, tmp_path: Path) -> None:
    class BrokenOffError(Exception):
        pass

    def end(event: Event) -> None:
        if isinstance(event, Stepped) and event.step == 4:
            raise BrokenOffError

    chat, settings = write_talks(tmp_path / "chat.jsonl"), {**SETTINGS, "steps": 6, "dropout": 0.1}
    with pytest.raises(BrokenOffError):
        train(chat, tmp_path / "out", from_model=base, watch=end, checkpoint_seconds=0, **settings)
    resumed = train([], tmp_path / "out", resume=True)
    whole = train(chat, tmp_path / "whole", from_model=base, **settings)
    assert resumed.state == whole.state


def test_conversations_need_a_model_that_knows_how_they_are_written(base: str, tmp_path: Path) -> None:
    chat = write_talks(tmp_path / "chat.jsonl")
    with pytest.raises(
        ConfigError, match=r"^conversations need a model that knows how they are written, no model(?m:$)"
    ) as e:
        train(chat, tmp_path / "out", **FEW_STEPS)
    assert e.value.hint == 'start from one that chats: from_model="smollm2"'
    lm = nextword.load(base)
    lm.chat_template = None
    lm.save(tmp_path / "plain")
    with pytest.raises(ConfigError, match=r"plain has no chat template(?m:$)"):
        train(chat, tmp_path / "out", from_model=tmp_path / "plain", steps=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["chat.jsonl", "plain"]


def test_too_few_conversations_are_told(base: str, tmp_path: Path) -> None:
    chat = write_talks(tmp_path / "chat.jsonl", 9)
    with pytest.raises(TextError, match=r"^9 conversations are too few to hold one of 10 out(?m:$)"):
        train(chat, tmp_path / "out", from_model=base, steps=1)
    assert train(chat, tmp_path / "out", from_model=base, validation=0.2, **{**SETTINGS, "steps": 1}).steps == 1


def test_a_row_without_an_answer_is_named_by_its_line(base: str, tmp_path: Path) -> None:
    chat = write_talks(tmp_path / "chat.jsonl", 12)
    with chat.open("a", encoding="utf-8") as file:
        file.write('{"messages": [{"role": "user", "content": "안녕"}]}\n')
    with pytest.raises(TextError, match=r"chat\.jsonl:13: there is no answer to learn from(?m:$)"):
        train(chat, tmp_path / "out", from_model=base, steps=1)


def test_rows_of_text_and_plain_files_are_no_conversations(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": "messages"}\n', encoding="utf-8")
    assert not holds_conversations([tmp_path / "rows.jsonl"], None)
    assert not holds_conversations([write_text(tmp_path, 'He wrote {"messages": []}.')], None)
    assert holds_conversations([write_text(tmp_path, '{"messages": []}')], None)  # whatever its name


def test_conversations_may_come_from_standard_input_and_from_a_directory(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    talks = write_talks(tmp_path / "talks" / "chat.json", 12)
    settings: dict[str, Any] = {"from_model": base, "steps": 2, "context_length": 16, "batch_size": 2}
    named = train(talks, tmp_path / "named", **settings)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(talks.read_bytes())))
    assert train("-", tmp_path / "piped", **settings).state == named.state
    (tmp_path / "talks" / "about.md").write_text("What these are.", encoding="utf-8")
    (tmp_path / "talks" / "a.txt").write_bytes(b"")
    for name in ("a.json", "package.json"):  # before and behind the conversations
        (tmp_path / "talks" / name).write_text('{"name": "x", "version": "1"}', encoding="utf-8")
    run = train(tmp_path / "talks", tmp_path / "found", exclude="about.md", **settings)
    assert run.state == named.state
    assert dict(run.model.provenance["text"]["skipped"]) == {
        "about.md": "excluded",
        "a.txt": "is empty",
        "a.json": "is a single object, no rows",
        "package.json": "is a single object, no rows",
    }
    assert holds_conversations([write_talks(tmp_path / "chat.jsonl.gz", 1)], None)
