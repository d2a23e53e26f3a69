"""Clients that people use, as they come from PyPI."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

import nextword
from nextword.loading import DEFAULT_MODEL
from tests.server.api.test_requests import TOOL
from tests.server.conftest import Served

KOREAN = "대한민국의 주권은 국민에게 있고, 모든 권력은 국민으로부터 나온다."


def test_langchain(server: Served, chatty: Path) -> None:
    from langchain_openai import ChatOpenAI, OpenAI

    settings = {"base_url": f"{server.url}/v1", "api_key": "none", "seed": 3}
    wanted = nextword.load(chatty).chat([{"role": "user", "content": "안녕"}], 20, seed=3, temperature=1.0, top_p=1.0)
    chat = ChatOpenAI(model="chatty", temperature=1.0, max_tokens=20, **settings)
    assert chat.invoke("안녕").content == wanted.text
    assert "".join(str(part.content) for part in chat.stream("안녕")) == wanted.text
    text = OpenAI(model="nextword", temperature=0, max_tokens=12, **settings).invoke("To be, or not to")
    assert text == nextword.load().generate("To be, or not to", 12, temperature=0).text


def test_llm(server: Served, chatty: Path, tmp_path: Path) -> None:
    entry = f"- model_id: mine\n  model_name: chatty\n  api_base: {server.url}/v1\n  api_key_name: none\n"
    (tmp_path / "extra-openai-models.yaml").write_text(entry, encoding="utf-8")
    (tmp_path / "keys.json").write_text('{"none": "none"}', encoding="utf-8")
    command = [sys.executable, "-m", "llm", "-m", "mine", "안녕", "-o", "temperature", "0", "-o", "max_tokens", "20"]
    for streamed in ([], ["--no-stream"]):
        ended = subprocess.run(
            [*command, *streamed],
            capture_output=True,
            encoding="utf-8",
            env={**os.environ, "LLM_USER_PATH": str(tmp_path), "PYTHONIOENCODING": "utf-8"},
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        wanted = nextword.load(chatty).chat([{"role": "user", "content": "안녕"}], 20, temperature=0).text
        assert ended.stdout.strip() == wanted.strip()


def test_open_webui(server: Served, chatty: Path) -> None:
    """What its backend sends, with the library it sends it with: the list of models, a chat, a title for it."""
    headers = {"Authorization": "Bearer none", "Content-Type": "application/json", "X-OpenWebUI-User-Name": "홍길동"}
    headers = {name: value.encode().decode("latin-1") for name, value in headers.items()}
    address = f"{server.url}/v1/chat/completions"
    said = [{"role": "system", "content": "짧게"}, {"role": "user", "content": "안녕"}]

    async def talk() -> tuple[list[str], str, str]:
        async with aiohttp.ClientSession(trust_env=True) as session:
            async with session.get(f"{server.url}/v1/models", headers=headers) as answer:
                names = [model["id"] for model in (await answer.json())["data"]]
            body = {"model": "chatty", "stream": True, "messages": said, "temperature": 0, "max_tokens": 20}
            body["stream_options"] = {"include_usage": True}
            body["tools"] = [TOOL]  # with every message
            async with session.post(address, data=json.dumps(body), headers=headers) as answer:
                assert "text/event-stream" in answer.headers["Content-Type"]
                lines = [line.decode().strip() async for line in answer.content]
            events = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
            text = "".join(part["delta"].get("content", "") for event in events for part in event["choices"])
            body = {"model": "chatty", "stream": False, "messages": said, "max_completion_tokens": 20, "temperature": 0}
            async with session.post(address, data=json.dumps(body), headers=headers) as answer:
                return names, text, (await answer.json())["choices"][0]["message"]["content"]

    wanted = nextword.load(chatty).chat(said, 20, temperature=0).text
    assert asyncio.run(talk()) == (["nextword", "chatty", "tooled"], wanted, wanted)


@pytest.mark.filterwarnings("ignore")  # of the harness
def test_lm_eval_scores_as_score_does(server: Served) -> None:
    from lm_eval.api.instance import Instance
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    harness = LocalCompletionsAPI(
        base_url=f"{server.url}/v1/completions",
        model="nextword",
        tokenizer=str(DEFAULT_MODEL),
        tokenizer_backend="huggingface",
        max_length=256,
    )
    lm = nextword.load()
    texts = [KOREAN, "To be, or not to be, that is the question."]
    rolling = [Instance("loglikelihood_rolling", {}, (text,), 0) for text in texts]
    assert harness.loglikelihood_rolling(rolling) == pytest.approx([-lm.score(text).nats for text in texts], abs=1e-6)
    pairs = [("To be, or not to", " be"), ("To be, or not to", " king"), (KOREAN[:9], KOREAN[9:])]
    found = harness.loglikelihood([Instance("loglikelihood", {}, pair, 0) for pair in pairs])
    for (context, rest), (logprob, greedy) in zip(pairs, found, strict=True):
        ids, start = lm.tokenizer.encode(context + rest), len(lm.tokenizer.encode(context))
        wanted = lm.generate(ids, 0, score_prompt=True, logprobs=1).prompt_logprobs
        assert logprob == pytest.approx(sum(item.logprob for item in wanted[start:]), abs=1e-6)
        assert greedy == all(item.top[0][0] == item.token_id for item in wanted[start:])


def test_schemathesis_finds_no_server_error(server: Served, tmp_path: Path) -> None:
    """Every phase, data that is wrong on purpose, \x00 in strings; the paths without /v1 are the same functions."""
    command = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        "run",
        f"{server.url}/openapi.json",
        "--mode",
        "all",
        "--seed",
        "1",
    ]
    command += ["--checks", "not_a_server_error", "--max-examples", "20", "--no-color"]
    command += ["--exclude-path-regex", "^/(completions|chat|models)"]
    ended = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, cwd=tmp_path)
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-2000:]
    cases = re.search(r"(\d+) generated, (\d+) passed", ended.stdout)
    assert cases, ended.stdout[-3000:]
    assert int(cases[1]) == int(cases[2]) > 500
