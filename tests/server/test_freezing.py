"""One client's long text holds up nobody: threads do the work, in parts, and stop when its client is gone."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest

import nextword
from nextword.generation import Memory
from nextword.generation.prediction import PART_TOKENS, predict_token
from nextword.server.errors import ApiError
from nextword.server.workers import CancelToken, ClientDisconnectedError, Worker
from tests.server.api.test_requests import CHAT, COMPLETIONS, refusal
from tests.server.conftest import Served, serving

LONG = "To be, or not to be, 그것이 문제로다. " * 25_000


@pytest.fixture(scope="module")
def reading(endless: Path, chatty: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("reading") / "log", endless, f"chatty={chatty}") as server:
        yield server


def test_other_threads_run_while_a_long_text_is_encoded() -> None:
    encode, ticks, ended = nextword.load().tokenizer.encode, 0, threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not ended.wait(0.001):
            ticks += 1

    beat = threading.Thread(target=tick)
    beat.start()
    before = ticks
    ids = encode(LONG)
    during = ticks - before
    ended.set()
    beat.join()
    assert len(ids) > 100_000
    assert during > 10  # a call that keeps the interpreter to itself lets one or two through


def test_a_long_text_is_read_in_parts_until_nobody_waits(endless: Path) -> None:
    lm = nextword.load(endless)
    ids = np.random.default_rng(0).integers(1, 300, 2 * PART_TOKENS + 88).tolist()
    calls: list[int] = []
    parts = predict_token(lm.backend, lm.tokenizer, ids, 3, between=lambda: calls.append(1))
    assert len(calls) == 3
    assert np.array_equal(parts.logits, predict_token(lm.backend, lm.tokenizer, ids, 3).logits)

    cancel_token, memory = CancelToken(), Memory()

    def leave() -> None:
        cancel_token.cancelled = len(memory.ids) > 0
        cancel_token.check()

    with pytest.raises(ClientDisconnectedError):
        predict_token(lm.backend, lm.tokenizer, ids, 3, memory=memory, between=leave)
    assert memory.ids == ids[:PART_TOKENS]


def test_what_has_begun_is_told_that_its_asker_is_gone() -> None:
    begun, over = threading.Event(), threading.Event()

    def work(cancel_token: CancelToken) -> None:
        begun.set()
        try:
            while True:
                cancel_token.check()
                time.sleep(0.001)
        finally:
            over.set()

    async def leave() -> str:
        worker = Worker("test", max_waiting=1)
        asked = asyncio.ensure_future(worker.run(work))
        await asyncio.to_thread(begun.wait, 60)
        asked.cancel()
        await asyncio.to_thread(over.wait, 60)
        while True:  # its room is free as soon as the thread is
            try:
                return await worker.run(lambda _: "next")
            except ApiError:  # refused until then
                await asyncio.sleep(0.001)

    assert asyncio.run(asyncio.wait_for(leave(), 60)) == "next"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (COMPLETIONS, {"prompt": " " * 2_000_000}, 400),
        (COMPLETIONS, {"prompt": LONG}, 400),
        (CHAT, {"model": "chatty", "messages": [{"role": "user", "content": LONG[:900_000]}]}, 400),
        ("/tokenize", {"prompt": LONG, "return_token_strs": True}, 200),
        ("/detokenize", {"tokens": [300] * 1_000_000}, 200),
        ("/look/predict", {"ids": [300] * 3000}, 200),
    ],
    ids=["blanks", "text", "chat", "tokenize", "detokenize", "look"],
)
def test_the_server_answers_others_meanwhile(reading: Served, path: str, body: dict, status: int) -> None:
    answers: list[httpx.Response] = []

    def ask() -> None:
        answers.append(httpx.post(reading.url + path, json=body, timeout=120))

    asking = threading.Thread(target=ask)
    asking.start()
    worst = 0.0
    while asking.is_alive():
        begun = time.monotonic()
        assert reading.client.get("/health").json() == {"status": "ok"}
        worst = max(worst, time.monotonic() - begun)
    assert answers[0].status_code == status
    assert worst < 5  # half a second on a quiet machine; the suite's is busy


def test_whoever_leaves_the_page_holds_it_up_no_longer(reading: Served) -> None:
    body = json.dumps({"ids": np.random.default_rng(1).integers(1, 300, 16_000).tolist()})
    place = urlsplit(reading.url)
    for _ in range(3):
        with socket.create_connection((place.hostname, place.port)) as raw:
            head = "POST /look/predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            raw.sendall(f"{head}content-length: {len(body)}\r\n\r\n{body}".encode())
            reading.client.get("/health")
    answer = reading.client.post("/look/predict", json={"ids": [300] * 4})
    assert len(answer.json()["candidates"]) == 10


def test_more_texts_than_may_wait_are_refused_before_they_are_read(reading: Served) -> None:
    error = refusal(reading.client.post(COMPLETIONS, json={"prompt": ["a"] * 200, "n": 2}))
    assert (error["message"], error["hint"]) == (
        "400 texts are more than the 256 that may wait",
        "ask for fewer at once",
    )


def test_ids_may_be_many(reading: Served) -> None:
    answer = reading.client.post(COMPLETIONS, json={"prompt": [300] * 2049, "max_tokens": 1})
    assert (answer.status_code, answer.json()["usage"]["prompt_tokens"]) == (200, 2049)
