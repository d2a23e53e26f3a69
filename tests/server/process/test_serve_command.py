"""What `nextword serve` is told, and what it tells."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

import nextword
from nextword.loading import DEFAULT_MODEL
from nextword.server.process.addresses import lan_urls
from tests.server.api.test_requests import COMPLETIONS, refusal
from tests.server.conftest import serving
from tests.server.process.test_guards import EVERYWHERE

PROMPT = "오늘은 날씨가"


@pytest.fixture(scope="module")
def greedy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default model, whose makers recommend the most probable token."""
    lm = nextword.load()
    lm.recommended = {"top_k": 1, "temperature": 0.7, "do_sample": True}
    return lm.save(tmp_path_factory.mktemp("models") / "greedy")


def text(client: httpx.Client, **settings: object) -> str:
    answer = client.post(COMPLETIONS, json={"prompt": PROMPT, "max_tokens": 12, "seed": 3, **settings})
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["text"]


def test_the_server_has_sampling_of_its_own_that_a_request_may_replace(greedy: Path, tmp_path: Path) -> None:
    lm = nextword.load()
    best = lm.generate(PROMPT, 12, temperature=0).text
    drawn = lm.generate(PROMPT, 12, temperature=1.0, top_p=1.0, seed=3).text
    sharp = lm.generate(PROMPT, 12, temperature=0.5, top_p=1.0, seed=3, repetition_penalty=1.3).text
    assert len({best, drawn, sharp}) == 3
    with serving(tmp_path / "plain", greedy) as server:
        assert text(server.client) == drawn  # nothing is applied that nobody asked for
    with serving(tmp_path / "recommended", greedy, "--sampling", "recommended") as server:
        assert text(server.client) == best
        assert text(server.client, top_k=0, temperature=1.0) == drawn
    flags = ["--temperature", "0.5", "--repetition-penalty", "1.3", "--top-k", "0"]
    with serving(tmp_path / "flags", greedy, "--sampling", "recommended", *flags) as server:
        assert text(server.client) == sharp  # flags come before what is recommended
        assert text(server.client, temperature=0, repetition_penalty=1.0) == best


def test_the_context_may_be_smaller(tmp_path: Path) -> None:
    with serving(tmp_path / "log", DEFAULT_MODEL, "--context", "32") as server:
        body = {"prompt": [300] * 20, "max_tokens": -1, "logit_bias": {"0": -100}}
        found = server.client.post(COMPLETIONS, json=body).json()
        assert (found["choices"][0]["finish_reason"], found["usage"]["total_tokens"]) == ("length", 33)
        whole = {"prompt": [300] * 32, "max_tokens": -1}  # the last one is written, not read, as at the model's own end
        assert server.client.post(COMPLETIONS, json=whole).json()["usage"]["completion_tokens"] == 1
        error = refusal(server.client.post(COMPLETIONS, json={"prompt": [300] * 33}))
        assert (error["n_prompt_tokens"], error["n_ctx"]) == (33, 32)
        assert server.client.get("/v1/models").json()["data"][0]["max_model_len"] == 32
        assert server.client.get("/tokenizer_info").json()["model_max_length"] == 32
        whole = server.client.post(COMPLETIONS, json={"prompt": PROMPT, "max_tokens": 12, "temperature": 0}).json()
        assert whole["choices"][0]["text"] == nextword.load().generate(PROMPT, 12, temperature=0).text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--context", "1"], "context is 1, it must be 2 or more"),
        (["--context", "1000000"], "context is 1,000,000, the model can look at 256 tokens"),
        (["--temperature", "-1"], "temperature is -1.0, it must be 0 or more"),
        (["--top-p", "2"], "top-p is 2.0, it must be above 0 and at most 1"),
        (["--allow-host", "https://example.org"], "'https://example.org' is no name of a host"),
        ([str(DEFAULT_MODEL), "second=broken"], "config.json"),
        ([str(DEFAULT_MODEL), "second=nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_served_is_told_at_the_start(tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{", encoding="utf-8")
    command = [sys.executable, "-m", "nextword", "serve", "--port", "0", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=120)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: ")
    assert message in ended.stderr


def test_a_server_for_all_prints_addresses_that_others_can_type(tmp_path: Path) -> None:
    asked = ["--host", EVERYWHERE, "--allow-host", "llm.example.org"]
    with serving(tmp_path / "log", DEFAULT_MODEL, *asked, NEXTWORD_API_KEY="k") as server:
        assert server.url.startswith("http://127.0.0.1:")
        port = int(server.url.rpartition(":")[2])
        told = re.findall(r"^for others: (\S+)/v1,", server.log.read_text(encoding="utf-8"), re.MULTILINE)
        assert told == lan_urls(EVERYWHERE, port)
        for name in ("192.0.2.7", "llm.example.org", "other.example.org"):  # one more name keeps out none
            assert server.client.get("/health", headers={"host": f"{name}:{port}"}).status_code == 200
        for address in told:
            assert "//127." not in address
            assert httpx.get(f"{address}/health").json() == {"status": "ok"}
    assert lan_urls("127.0.0.1", 1) == lan_urls("localhost", 1) == lan_urls("192.0.2.7", 1) == []


LINE = re.compile(r"\d\d:\d\d:\d\d GET /health 200, \d+\.\d\d s")


def test_in_a_terminal_a_request_is_one_short_line() -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "nextword", "serve", "--port", "0", str(DEFAULT_MODEL)]
    with subprocess.Popen(command, stderr=theirs) as process, os.fdopen(ours, encoding="utf-8") as terminal:
        os.close(theirs)
        try:
            found = re.search(r"at (http://\S+)/v1", terminal.readline())
            assert found
            httpx.get(f"{found[1]}/health")
            assert LINE.fullmatch(terminal.readline().strip())
        finally:
            process.send_signal(signal.SIGTERM)


def test_lines_cannot_be_forged_and_json_is_there_for_the_asking(tmp_path: Path) -> None:
    for kind in ("lines", "json"):
        with serving(tmp_path / kind, DEFAULT_MODEL, "--log", kind) as server:
            server.client.get("/v1/models/%ED%95%9C%0a12:00:00%20GET%20/%E2%80%A8%1b[31m")
            server.client.get("/health")
            server.client.get("/health")  # a line is written behind its answer, but before the next one's
        lines = server.log.read_text(encoding="utf-8").splitlines()[1:]
        if kind == "lines":
            assert lines[0][9:].startswith("GET /v1/models/한\\n12:00:00 GET /\\u2028\\x1b[31m 404, ")
            assert LINE.fullmatch(lines[1])
        else:
            assert json.loads(lines[0])["path"] == "/v1/models/한\n12:00:00 GET /\u2028\x1b[31m"
