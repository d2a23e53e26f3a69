"""Who may ask, from where, how much, how long."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import openai
import pytest

from nextword.errors import ConfigError
from nextword.loading import DEFAULT_MODEL
from nextword.server.process.addresses import check_key
from tests.server.api.test_requests import COMPLETIONS, refusal
from tests.server.conftest import Served, serving

EVERYWHERE = "0.0.0.0"  # noqa: S104
BODY = {"prompt": "To be", "max_tokens": 2}


def connected(server: Served) -> socket.socket:
    place = urlsplit(server.url)
    return socket.create_connection((place.hostname, place.port), timeout=60)


def test_a_name_that_was_pointed_here_is_refused(server: Served) -> None:
    for host in ("evil.example", "evil.example:8000", "127.0.0.1.evil.example", ""):
        refusal(server.client.get("/v1/models", headers={"host": host}), 403)
    for host in ("localhost", "localhost:9", "127.0.0.1:1", "[::1]:1"):
        assert server.client.get("/v1/models", headers={"host": host}).status_code == 200


def test_other_pages_may_not_ask(server: Served) -> None:
    answer = server.client.post(COMPLETIONS, json=BODY, headers={"origin": "https://evil.example"})
    assert not any("access-control" in name or name == "vary" for name in answer.headers)
    ask = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    assert server.client.options(COMPLETIONS, headers=ask).status_code == 403


def test_a_page_that_was_named_may_ask(tmp_path: Path) -> None:
    page = "https://example.org"
    with serving(tmp_path / "log", DEFAULT_MODEL, "--allow-origin", page) as server:
        ask = {"origin": page, "access-control-request-method": "POST"}
        assert server.client.options(COMPLETIONS, headers=ask).status_code == 204
        answer = server.client.post(COMPLETIONS, json=BODY, headers={"origin": page})
        assert answer.headers["access-control-allow-origin"] == page
        assert answer.headers["vary"] == "origin"  # a cache must not hand it to another page, nor another page's here
        for others in ({}, {"origin": "https://evil.example"}):
            answer = server.client.get("/v1/models", headers=others)
            assert "access-control-allow-origin" not in answer.headers
            assert answer.headers["vary"] == "origin"


def test_a_key_is_asked_for_where_there_is_one(tmp_path: Path) -> None:
    with serving(tmp_path / "log", DEFAULT_MODEL, "--host", EVERYWHERE, NEXTWORD_API_KEY="열쇠-key") as server:
        url = server.url
        for headers in (
            {},
            {"authorization": "Bearer wrong"},
            {"authorization": "열쇠".encode()},
            {"authorization": b"\xff"},
            {"authorization": "열쇠-key".encode()},  # without its scheme
            {"authorization": "Basic 열쇠-key".encode()},
            {"authorization": "Bearer열쇠-key".encode()},
        ):
            answer = httpx.get(f"{url}/v1/models", headers=headers)
            assert refusal(answer, 401)["hint"] == "send it as Authorization: Bearer KEY"
            assert answer.headers["www-authenticate"] == "Bearer"
        for scheme in ("bearer", "BEARER", "Bearer "):
            key = f"{scheme} 열쇠-key".encode()
            assert httpx.get(f"{url}/v1/models", headers={"authorization": key}).status_code == 200
        assert httpx.get(f"{url}/health").json() == {"status": "ok"}
        key = "Bearer 열쇠-key".encode()
        assert httpx.get(f"{url}/v1/models", headers={"authorization": key}).status_code == 200


def test_a_key_may_be_bytes_that_are_no_text_and_what_is_sent_may_be(tmp_path: Path) -> None:
    """An environment in another encoding: 열쇠 in EUC-KR, which is no UTF-8."""
    key = "열쇠".encode("euc-kr") + b"\xff"
    with serving(tmp_path / "log", DEFAULT_MODEL, NEXTWORD_API_KEY=os.fsdecode(key)) as server:
        for given, status in ((key, 200), (b"\xff", 401), ("열쇠".encode(), 401), (b"?", 401)):
            answer = httpx.get(f"{server.url}/v1/models", headers={"authorization": b"Bearer " + given})
            assert answer.status_code == status
    assert "Traceback" not in server.log.read_text(encoding="utf-8")


def test_a_key_that_no_request_can_send_is_refused_at_the_start() -> None:
    for key in ("a\nb", "a\x00b", "a\x7fb", "\x1b[31m"):
        with pytest.raises(ConfigError, match="the API key holds a control character"):
            check_key("127.0.0.1", key)
    check_key("127.0.0.1", " key\n")  # a file's last line feed is not the key's


def test_others_are_let_in_only_with_a_key() -> None:
    command = [sys.executable, "-m", "nextword", "serve", "--host", EVERYWHERE, "--port", "0"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "API key" in ended.stderr
    assert "NEXTWORD_API_KEY" in ended.stderr


def test_a_blank_key_is_none() -> None:
    command = [sys.executable, "-m", "nextword", "serve", "--host", EVERYWHERE, "--port", "0"]
    environment = {**os.environ, "NEXTWORD_API_KEY": " \t"}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("error: the API key is blank\nhint: ")


def test_small_packets_are_sent_at_once() -> None:
    from nextword.server.process.addresses import listen

    with listen("127.0.0.1", 0) as listening:
        listening.listen()

        async def accepted_has_no_delay() -> bool:
            taken = asyncio.get_running_loop().create_future()
            loop = asyncio.get_running_loop()
            serving = await loop.create_server(lambda: Taken(taken), sock=listening)
            async with serving:
                _, writer = await asyncio.open_connection(*listening.getsockname())
                transport = await taken
                accepted = transport.get_extra_info("socket")
                writer.close()
                transport.close()
                return bool(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

        assert asyncio.run(accepted_has_no_delay())


class Taken(asyncio.Protocol):
    """Tells of its connection."""

    def __init__(self, taken: asyncio.Future) -> None:
        self.taken = taken

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.taken.set_result(transport)


def test_a_port_that_is_taken_is_told(server: Served) -> None:
    port = str(urlsplit(server.url).port)
    ended = subprocess.run(
        [sys.executable, "-m", "nextword", "serve", "--port", port], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in ended.stderr


def sent(server: Served, request: bytes) -> tuple[bytes, bytes]:
    """Head and body of the answer to bytes on a connection, which the server closes."""
    with connected(server) as raw:
        raw.sendall(request)
        answer = b"".join(iter(lambda: raw.recv(100_000), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.lower(), body


def test_what_can_be_got_can_be_asked_for_by_head(server: Served) -> None:
    for path in (
        "/",
        "/health",
        "/metrics",
        "/v1/models",
        "/models",
        "/v1/models/chatty",
        "/openapi.json",
        "/look/about",
    ):
        got, asked = server.client.get(path), server.client.head(path)
        assert (asked.status_code, asked.headers["content-type"]) == (got.status_code, got.headers["content-type"])
        assert asked.content == b""
        if path != "/metrics":
            assert asked.headers["content-length"] == str(len(got.content))
    assert server.client.head("/v1/nothing").status_code == 404
    assert server.client.head(COMPLETIONS).status_code == 405
    assert refusal(server.client.post("/health", json={}), 405)["hint"] == "this path answers GET, HEAD"


def test_a_slash_behind_an_address_changes_nothing(server: Served) -> None:
    for path in ("/v1/models", "/models", "/v1/models/chatty", "/health"):
        assert server.client.get(f"{path}/").json() == server.client.get(path).json()
    assert [model["id"] for model in server.client.get("/v1/models/").json()["data"]] == [
        "nextword",
        "chatty",
        "tooled",
    ]
    assert server.client.post(f"{COMPLETIONS}/", json=BODY).status_code == 200


def test_http_1_0_is_sent_no_chunks(server: Served) -> None:
    for stream in (False, True):
        body = json.dumps({**BODY, "seed": 1, "stream": stream}).encode()
        lines = f"POST {COMPLETIONS} HTTP/1.0\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        head, answer = sent(server, f"{lines}content-length: {len(body)}\r\n\r\n".encode() + body)
        assert b" 200 " in head
        assert b"connection: close" in head
        assert b"transfer-encoding" not in head
        if stream:
            lines = answer.decode().split("\n\n")
            assert lines[-2:] == ["data: [DONE]", ""]
            text = "".join(json.loads(line[6:])["choices"][0]["text"] for line in lines[:-2])
        else:
            text = json.loads(answer)["choices"][0]["text"]
        assert text == server.client.post(COMPLETIONS, json={**BODY, "seed": 1}).json()["choices"][0]["text"]
    head, answer = sent(server, b"HEAD /v1/models HTTP/1.0\r\nhost: localhost\r\n\r\n")
    assert (b" 200 " in head, answer) == (True, b"")


def test_a_compressed_body_is_refused_as_such(server: Served) -> None:
    body = gzip.compress(json.dumps(BODY).encode())
    for coding in ("gzip", "br", "zstd", "deflate", "gzip, identity"):
        headers = {"content-type": "application/json", "content-encoding": coding}
        answer = server.client.post(COMPLETIONS, content=body, headers=headers)
        assert refusal(answer, 415)["hint"] == "send it as it is"
    plain = {"content-encoding": "identity"}
    assert server.client.post(COMPLETIONS, json=BODY, headers=plain).status_code == 200


def test_only_http_1_0_may_leave_out_the_host(server: Served) -> None:
    head, body = sent(server, b"GET /health HTTP/1.1\r\nconnection: close\r\n\r\n")
    assert b" 400 " in head
    assert json.loads(body)["error"]["message"] == "the request has no header Host"
    head, body = sent(server, b"GET /health HTTP/1.0\r\n\r\n")
    assert (b" 200 " in head, json.loads(body)) == (True, {"status": "ok"})


@pytest.mark.parametrize("name", ["Host", "Authorization"])
def test_one_request_has_one_host_and_one_key(server: Served, name: str) -> None:
    twice = f"{name}: localhost\r\n{name.upper()}: localhost\r\n"
    host = "" if name == "Host" else "host: localhost\r\n"
    head, body = sent(server, f"GET /v1/models HTTP/1.1\r\n{host}{twice}connection: close\r\n\r\n".encode())
    assert b" 400 " in head
    assert json.loads(body)["error"]["message"] == f"the request has 2 headers {name}, one is allowed"


def test_a_proxy_may_pass_on_its_own_name(tmp_path: Path) -> None:
    with serving(tmp_path / "log", DEFAULT_MODEL, "--allow-host", "Llm.example.org") as server:
        for host in ("llm.example.org", "LLM.EXAMPLE.ORG:443", "localhost"):
            assert server.client.get("/v1/models", headers={"host": host}).status_code == 200
        error = refusal(server.client.get("/v1/models", headers={"host": "example.org"}), 403)
        assert error["hint"] == "nextword serve --allow-host NAME lets a proxy's name through"


def test_too_much_is_refused(server: Served) -> None:
    refusal(server.client.post(COMPLETIONS, content=b" " * (17 * 1024 * 1024)), 413)
    answer = server.client.post(COMPLETIONS, content=(b" " * 1024 * 1024 for _ in range(17)))  # its length is not told
    refusal(answer, 413)
    with connected(server) as raw:
        raw.sendall(b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\nx: " + b"a" * 100_000)
        assert b" 400 " in raw.recv(1000)
    with connected(server) as raw:  # in one piece with its end: one answer, then the connection is closed
        raw.sendall(b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\nx: " + b"a" * 40_000 + b"\r\n\r\n")
        answer = b"".join(iter(lambda: raw.recv(1000), b""))
        assert (answer.count(b"HTTP/1.1"), answer.count(b" 400 ")) == (1, 1)


def test_a_head_that_comes_byte_by_byte_holds_no_connection(server: Served) -> None:
    with connected(server) as raw:
        raw.sendall(b"GET /v1/models HTTP/1.1\r\nhost: local")
        begun = time.monotonic()
        raw.settimeout(100)
        assert raw.recv(1000) == b""  # closed
        assert time.monotonic() - begun > 5
    assert server.client.get("/health").status_code == 200


@pytest.mark.parametrize("junk", [b"\x00\x01\x02\r\n\r\n", b"GET\r\n\r\n", b"\xff" * 50 + b"\r\n\r\n"])
def test_what_is_no_http_is_answered_and_forgotten(server: Served, junk: bytes) -> None:
    with connected(server) as raw:
        raw.sendall(junk)
        assert b" 400 " in raw.recv(1000)


def test_prompts_are_not_logged_and_lines_cannot_be_forged(server: Served) -> None:
    secret = '비밀 secret-7731\n{"level": "error"}'
    server.client.post(COMPLETIONS, json={"prompt": secret, "max_tokens": 2})
    server.client.get("/v1/models/%C2%85%E2%80%A8%0d")  # other ends of lines
    server.client.get("/v1/models/a%0a%7b%22level%22%3a%22error%22%7d")
    server.client.get("/health")  # a line is written behind its answer, but before the connection's next one
    text = server.log.read_text(encoding="utf-8")
    assert "7731" not in text
    lines = [json.loads(line) for line in text.splitlines()[1:]]
    assert {line["level"] for line in lines} <= {"info", "warning"}
    last = [line for line in lines if line["message"] == "request" and line["path"] != "/health"][-1]
    assert last["path"] == '/v1/models/a\n{"level":"error"}'
    assert last["status"] == 404


def test_a_request_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with serving(tmp_path / "log", DEFAULT_MODEL, "--request-seconds", "0") as server:
        error = refusal(server.client.post(COMPLETIONS, json={"prompt": "To be", "max_tokens": 200}), 504)
        assert error["code"] == "timeout"
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
        with client, pytest.raises(openai.InternalServerError):
            client.completions.create(model="", prompt="To be", max_tokens=200)
