"""A real server in a process of its own, asked over the network."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

import nextword

TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)

TOOLED = "{% if tools %}<tools>{{ tools | tojson }}</tools>{% endif %}" + TEMPLATE
TOOLED += "{% if add_generation_prompt and enable_thinking is defined and not enable_thinking %}<quiet>{% endif %}"


@dataclass
class Served:
    """A server that runs."""

    process: subprocess.Popen[str]
    url: str
    log: Path
    client: httpx.Client

    def metric(self, name: str) -> float:
        page = self.client.get("/metrics").text
        found = re.search(rf"^{name}(?:_total)? (\S+)$", page, re.MULTILINE)
        assert found, page
        return float(found[1])


@contextlib.contextmanager
def serving(log: Path, *arguments: str | Path, **environment: str) -> Iterator[Served]:
    command = [sys.executable, "-m", "nextword", "serve", "--port", "0", *map(str, arguments)]
    with log.open("w", encoding="utf-8") as out:
        process = subprocess.Popen(command, stderr=out, text=True, env={**os.environ, **environment})
        try:
            with log.open(encoding="utf-8") as lines:
                text = ""
                while not (found := re.search(r"at (http://\S+)/v1", text)):
                    assert process.poll() is None, text
                    text += lines.read()
            with httpx.Client(base_url=found[1], timeout=120) as client:
                yield Served(process, found[1], log, client)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def save_chatty(path: Path, template: str = TEMPLATE) -> Path:
    """The default model with a chat template."""
    lm = nextword.load()
    lm.chat_template = template
    return lm.save(path)


@pytest.fixture(scope="session")
def chatty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_chatty(tmp_path_factory.mktemp("models") / "chatty")


@pytest.fixture(scope="session")
def server(chatty: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    from nextword.loading import DEFAULT_MODEL

    tooled = save_chatty(tmp_path_factory.mktemp("models") / "tooled", TOOLED)
    models = [f"nextword={DEFAULT_MODEL}", f"chatty={chatty}", f"tooled={tooled}"]
    with serving(tmp_path_factory.mktemp("server") / "log", *models) as served:
        yield served


@pytest.fixture(scope="session")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that writes on and on: random weights, room for 16,384 tokens."""
    import torch

    torch.manual_seed(0)
    tokenizer = nextword.load().tokenizer
    config = nextword.GPTConfig.preset("tiny", tokenizer.vocab_size, 16_384)
    lm = nextword.LanguageModel.from_model(nextword.GPTModel.from_config(config), tokenizer)
    return lm.save(tmp_path_factory.mktemp("models") / "endless")
