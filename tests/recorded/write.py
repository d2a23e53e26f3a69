"""Writes what lies in `files/`, as nextword at commit 44ee801 wrote it. Run there: python -m tests.recorded.write

It shows how the files came about. Later code has to read them as they are: written anew with it, they would hold
nothing against what was. What it imports of `measuring` lay in `nextword.files` and `nextword.inspection` then, and
`Tokenizer.to_str` was called `to_json`.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer as RawTokenizer

import nextword
from nextword import GPTConfig, GPTModel, LanguageModel, Tokenizer
from nextword.measuring.verification import verify
from nextword.measuring.verification_file import write_verification
from nextword.training import Event, Stepped, Validated, train
from nextword.training.events import Resumed
from tests.recorded.runs import BROKEN_OFF, FILES, PROMPT, RUNS

BEGINNINGS = ("In the morning", "After school", "비가 오면", "저녁이 되면")
WHO = ("my sister", "the old baker", "a small dog", "our teacher", "동생은", "할머니는", "고양이가")
WHAT = ("walks to the river.", "sings a song 🎵.", "reads by the window.", "창가에서 잔다.", "노래를 부른다.")
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class BrokenOffError(Exception):
    """Ends a run between two steps."""


def main() -> None:
    torch.set_num_threads(1)
    shutil.rmtree(FILES, ignore_errors=True)
    FILES.mkdir()
    os.chdir(FILES)  # the model that a run starts from is recorded as it was named
    write_texts()
    write_base()
    expected: dict[str, Any] = {}
    for name, (text, settings) in RUNS.items():
        break_off(name, text, settings)
        expected[name] = go_on(name)
    break_off_before_its_first_checkpoint()
    expected["scratch"] = go_on("scratch")
    write_finished()
    expected["finished"] = [[row.token_id, row.probability] for row in nextword.load("finished").predict(PROMPT, top=5)]
    lm = nextword.load("base")
    trace = lm.edit(nextword.ablate_head(1, 0)).trace(PROMPT, names=["*.hook_resid_post", "logits"])
    trace.save("trace")
    expected["trace"] = [row.token_id for row in trace.top()]
    Path("expected.json").write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")


def write_texts() -> None:
    sentences = [f"{when} {who} {what}" for when in BEGINNINGS for who in WHO for what in WHAT]
    Path("text.txt").write_bytes(("\n".join(sentences) + "\n").encode())
    talks = [
        [{"role": "user", "content": f"{when}?"}, {"role": "assistant", "content": f"{WHO[place]} {WHAT[place]}"}]
        for place, when in enumerate(BEGINNINGS)
    ]
    lines = [json.dumps({"messages": talk}, ensure_ascii=False) for talk in talks * 3]
    Path("talks.jsonl").write_bytes(("\n".join(lines) + "\n").encode())


def write_base() -> None:
    """A model that has seen a little of the text, with a chat template."""
    marks = ["<|im_start|>", "<|im_end|>"]
    raw = Tokenizer.train_bpe([Path("text.txt").read_text(encoding="utf-8")], 320, special_tokens=marks).to_str()
    tokenizer = Tokenizer(RawTokenizer.from_str(raw), eos="<|im_end|>")
    torch.manual_seed(0)
    sizes = {"d_model": 16, "num_heads": 2, "num_kv_heads": 1, "num_layers": 2, "d_ff": 32}
    model = GPTModel.from_config(GPTConfig.qwen3(tokenizer.vocab_size, 32, **sizes))
    LanguageModel.from_model(model, tokenizer, chat_template=TEMPLATE).save("first")
    train("text.txt", "base", from_model="first", steps=60, context_length=32, batch_size=4, learning_rate=1e-2)
    shutil.rmtree("first")
    remove_pictures("base")


def break_off(name: str, text: str, settings: dict[str, Any]) -> None:
    def end(event: Event) -> None:
        if isinstance(event, Stepped) and event.step == BROKEN_OFF + 1:
            raise BrokenOffError

    try:
        train(text, name, watch=end, checkpoint_seconds=0, **settings)
    except BrokenOffError:
        shutil.rmtree(f"{name}.checkpoint/step-{BROKEN_OFF - 1:08}")  # the last one is enough


def break_off_before_its_first_checkpoint() -> None:
    """From random weights: the smallest preset has 800,000 of them, so none are kept here."""

    def copy(event: Event) -> None:
        if isinstance(event, Stepped) and event.step == 1:
            shutil.copytree("scratch.checkpoint", "killed")
            raise BrokenOffError

    try:
        train(
            "text.txt", "scratch", watch=copy, preset="tiny", steps=3, context_length=16, batch_size=2, vocab_size=300
        )
    except BrokenOffError:
        Path("killed").rename("scratch.checkpoint")


def go_on(name: str) -> dict[str, Any]:
    """What the run says when it goes on to its end, of which nothing is kept."""
    told: list[Event] = []
    shutil.copytree(f"{name}.checkpoint", "kept")
    train([], name, resume=True, watch=told.append)
    for path in (name, f"{name}.adapter"):
        shutil.rmtree(path, ignore_errors=True)
    Path("kept").rename(f"{name}.checkpoint")
    return {
        "resumed": next((event.state for event in told if isinstance(event, Resumed)), None),
        "losses": {event.step: event.loss for event in told if isinstance(event, Stepped)},
        "held_out": {event.step: event.nats_per_token for event in told if isinstance(event, Validated)},
    }


def write_finished() -> None:
    """A model directory with all that can lie in it but pictures, and the model of one of its steps."""
    train("text.txt", "finished", from_model="base", steps=3, context_length=16, batch_size=2, snapshots=True)
    remove_pictures("finished")
    for step in (0, 1, 3):
        shutil.rmtree(f"finished.steps/step-{step:08}")
    write_verification(Path("finished"), verify(Path("finished")))


def remove_pictures(model: str) -> None:
    """The curve of the losses, which is drawn where matplotlib is installed."""
    for picture in Path(model).glob("loss.*"):
        picture.unlink()


if __name__ == "__main__":
    main()
