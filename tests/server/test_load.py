"""Many at once: order, slots, queues, clients that go away, and the end."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

import nextword
from nextword.loading import DEFAULT_MODEL
from tests.server.api.test_requests import COMPLETIONS, refusal
from tests.server.conftest import Served, serving

PROMPTS = ["The children are", "목이 말라서", "We went to", "오늘은 날씨가", "To be, or not to", "모든 국민은"]


def until(holds, seconds: float = 60.0) -> None:
    """Waits for what must come soon; the time is a guard, not a measurement."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def idle(server: Served) -> bool:
    return server.metric("nextword_active") == server.metric("nextword_waiting") == 0


@pytest.mark.parametrize(("slots", "requests"), [(1, 3), (2, 2), (2, 4), (4, 2), (4, 6)])
def test_a_text_is_the_same_whoever_else_is_there(tmp_path: Path, slots: int, requests: int) -> None:
    lm = nextword.load()
    wanted = [lm.generate(PROMPTS[i], 48, seed=i, temperature=1.0, top_p=0.95).text for i in range(requests)]
    with serving(tmp_path / "log", DEFAULT_MODEL, "--slots", str(slots)) as server:

        def ask(i: int) -> str:
            body = {"prompt": PROMPTS[i], "max_tokens": 48, "seed": i, "top_p": 0.95}
            return httpx.post(server.url + COMPLETIONS, json=body, timeout=120).json()["choices"][0]["text"]

        for _ in range(3):
            with ThreadPoolExecutor(requests) as pool:
                assert list(pool.map(ask, range(requests))) == wanted
        assert [ask(0), ask(0)] == [wanted[0], wanted[0]]  # the second time a slot remembers the prompt
        assert server.metric("nextword_reused_tokens") > 0


def test_a_client_that_goes_away_frees_its_slot(tmp_path: Path) -> None:
    with serving(tmp_path / "log", DEFAULT_MODEL, "--slots", "1") as server:
        for stream in (True, False):
            body = json.dumps({"prompt": "To be", "max_tokens": 1_000_000, "stream": stream, "logit_bias": {"0": -100}})
            place = urlsplit(server.url)
            before = server.metric("nextword_cancelled")
            with socket.create_connection((place.hostname, place.port)) as raw:
                head = f"POST {COMPLETIONS} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
                raw.sendall(f"{head}content-length: {len(body)}\r\n\r\n{body}".encode())
                if stream:
                    assert raw.recv(10)
                else:
                    until(lambda: server.metric("nextword_active") == 1 or server.metric("nextword_written_tokens") > 0)
            until(lambda: idle(server))
            assert server.metric("nextword_cancelled") in {before, before + 1}  # it may have been done before


def test_a_full_queue_says_when_to_come_back(tmp_path: Path) -> None:
    with serving(tmp_path / "log", DEFAULT_MODEL, "--slots", "1", "--queue", "2") as server:
        error = refusal(server.client.post(COMPLETIONS, json={"prompt": ["a", "b", "c"]}), 400)
        assert "2" in error["message"]

        def ask(_: int) -> httpx.Response:
            return httpx.post(server.url + COMPLETIONS, json={"prompt": "To", "max_tokens": 200}, timeout=120)

        with ThreadPoolExecutor(24) as pool:
            answers = list(pool.map(ask, range(48)))
        refused = [answer for answer in answers if answer.status_code != 200]
        assert 0 < len(refused) < len(answers)
        for answer in refused:
            assert refusal(answer, 429)["code"] == "queue_full"
            assert int(answer.headers["retry-after"]) >= 1
        until(lambda: idle(server))
        assert server.client.post(COMPLETIONS, json={"prompt": "To", "max_tokens": 2}).status_code == 200


def test_a_storm_of_clients_that_give_up_leaves_nothing_behind(endless: Path, tmp_path: Path) -> None:
    body = {"prompt": "To be", "max_tokens": 10_000, "logit_bias": {"0": -100}}

    async def storm(url: str) -> int:
        limits = httpx.Limits(max_connections=None)

        async def ask(client: httpx.AsyncClient, i: int) -> bool:
            try:
                async with asyncio.timeout(0.5):
                    await client.post(url + COMPLETIONS, json={**body, "stream": bool(i % 2)}, timeout=60)
            except TimeoutError:
                return True
            return False

        async with httpx.AsyncClient(limits=limits) as client:
            return sum(await asyncio.gather(*(ask(client, i) for i in range(200))))

    with serving(tmp_path / "log", endless, "--queue", "256") as server:
        server.client.post(COMPLETIONS, json={"prompt": "To be", "max_tokens": 4})
        assert asyncio.run(storm(server.url)) == 200
        answer = httpx.post(server.url + COMPLETIONS, json={"prompt": "To be", "max_tokens": 4}, timeout=50)
        assert answer.status_code == 200
        until(lambda: idle(server))
        assert server.metric("nextword_written_tokens") < 200 * 10_000
        sizes = []
        for _ in range(8):  # the first two fill what is kept for later: caches of slots, the allocator's arenas
            asyncio.run(storm(server.url))
            until(lambda: idle(server))
            sizes.append(resident(server.process.pid))
        assert min(sizes[-3:]) < 1.05 * max(sizes[2:5]), sizes  # and then it grows no more from storm to storm


def test_a_client_that_reads_slowly_holds_up_nobody(endless: Path, tmp_path: Path) -> None:
    body = {"prompt": "To be", "max_tokens": 3000, "stream": True, "logit_bias": {"0": -100}}
    with (
        serving(tmp_path / "log", endless) as server,
        httpx.stream("POST", server.url + COMPLETIONS, json=body, timeout=120) as slow,
    ):
        lines = slow.iter_lines()
        next(lines)
        assert server.client.post(COMPLETIONS, json={"prompt": "To be", "max_tokens": 4}).status_code == 200
        until(lambda: idle(server), 120)  # written to its end, though nobody has read it yet
        assert server.client.get("/health").status_code == 200
        assert [line for line in lines if line][-1] == "data: [DONE]"


def resident(pid: int) -> int:
    """Kilobytes of memory."""
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1])


def test_texts_that_are_being_written_are_finished_when_the_server_ends(tmp_path: Path) -> None:
    with serving(tmp_path / "log", DEFAULT_MODEL, "--drain-seconds", "60") as server:
        body = {"prompt": "To be", "max_tokens": 200, "stream": True, "seed": 1}

        def ask(_: int) -> str:
            with httpx.stream("POST", server.url + COMPLETIONS, json=body, timeout=120) as answer:
                return "".join(answer.iter_lines())

        with ThreadPoolExecutor(8) as pool:
            texts = [pool.submit(ask, i) for i in range(8)]
            until(lambda: server.metric("nextword_requests") == 8)
            server.process.send_signal(signal.SIGTERM)
            assert all(text.result().endswith("data: [DONE]") for text in texts)
        assert server.process.wait(60) == 0


def test_what_takes_longer_is_told_so_and_the_server_ends(tmp_path: Path) -> None:
    with serving(tmp_path / "log", DEFAULT_MODEL, "--drain-seconds", "0") as server:
        body = {"prompt": ["To be"] * 64, "max_tokens": 250, "stream": True}
        with httpx.stream("POST", server.url + COMPLETIONS, json=body, timeout=120) as answer:
            lines = answer.iter_lines()
            next(lines)
            server.process.send_signal(signal.SIGTERM)
            last = [line for line in lines if line][-1]
        assert json.loads(last.removeprefix("data: "))["error"]["code"] == "shutting_down"
        assert server.process.wait(60) == 0
