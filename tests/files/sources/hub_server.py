"""A hub on the loopback interface: real HTTP for the real huggingface_hub, without leaving this machine."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".gguf", ".bin")  # what a hub keeps in its large file storage


@dataclass
class Repository:
    """What a repository holds: files of each commit, and which commits its branches and tags name."""

    commits: dict[str, dict[str, bytes]]
    revisions: dict[str, str]
    licence: str = "apache-2.0"
    refused: str = ""
    """`GatedRepo` (its files) or `RepoNotFound` (all of it): refused to those without a token."""
    hashes: dict[str, str] = field(default_factory=dict)
    """Path of a large file: a SHA-256 to claim that it has not."""


@dataclass
class Hub:
    """A running hub. What it was asked is in `requests`, as `GET /path` and, of a part, `GET /path 10-`."""

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    break_after: dict[str, int] = field(default_factory=dict)
    """Path of a file: bytes after which its connection breaks, once."""
    failing: dict[str, int] = field(default_factory=dict)
    """Path of a file, or `*` for everything: the status it is answered with, and nothing else."""

    def downloads(self) -> list[str]:
        """The files that were fetched since last asked, in order of their names."""
        fetched = sorted(
            line.split("/", 5)[5] for line in self.requests if line.startswith("GET /") and "/resolve/" in line
        )
        self.requests.clear()
        return fetched


def make_commit(*words: object) -> str:
    """A commit's name."""
    return hashlib.sha1(repr(words).encode()).hexdigest()  # noqa: S324 - as git does


@contextmanager
def running_hub() -> Iterator[Hub]:
    """A hub that answers until the block ends."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        part = self.headers.get("Range", "").removeprefix("bytes=")
        self.hub.requests.append(f"{self.command} {path} {part}".strip())
        if "*" in self.hub.failing:
            return self.refuse(self.hub.failing["*"], "")
        words = path.strip("/").split("/")
        if words[:2] == ["api", "models"]:
            return self.answer_about(words[2:])
        if words[2:3] == ["resolve"]:
            return self.answer_file("/".join(words[:2]), words[3], "/".join(words[4:]), part)
        return self.refuse(404, "")

    def answer_about(self, words: Sequence[str]) -> None:
        """`org/name`, `org/name/revision/R`, `org/name/tree/R`."""
        name, kind, revision = "/".join(words[:2]), "".join(words[2:3]), "/".join(words[3:]) or "main"
        repository = self.hub.repositories.get(name)
        if repository is None or (repository.refused == "RepoNotFound" and not self.headers.get("Authorization")):
            return self.refuse(401, "RepoNotFound")  # a private one and none are told apart for nobody
        commit = repository.revisions.get(revision, revision)
        if commit not in repository.commits:
            return self.refuse(404, "RevisionNotFound")
        files = repository.commits[commit]
        if kind == "tree":
            return self.send(json.dumps([{"type": "file", "path": p, **_facts(p, data)} for p, data in files.items()]))
        siblings = [{"rfilename": path, **_facts(path, data)} for path, data in files.items()]
        for sibling in siblings:
            if sibling["rfilename"] in repository.hashes:
                sibling["lfs"]["sha256"] = repository.hashes[sibling["rfilename"]]
        tags = ["text-generation", f"license:{repository.licence}"]
        return self.send(json.dumps({"id": name, "sha": commit, "siblings": siblings, "tags": tags}))

    def answer_file(self, name: str, revision: str, path: str, part: str) -> None:
        repository = self.hub.repositories[name]
        if repository.refused and not self.headers.get("Authorization"):
            self.refuse(403, repository.refused)
        elif self.command == "GET" and path in self.hub.failing:
            self.refuse(self.hub.failing[path], "")
        else:
            self.send_file(revision, path, repository.commits[revision][path], int(part.rstrip("-") or 0))

    def send_file(self, revision: str, path: str, data: bytes, start: int) -> None:
        self.send_response(206 if start else 200)
        self.send_header("X-Repo-Commit", revision)
        self.send_header("ETag", f'"{_etag(path, data)}"')
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if self.command == "GET":
            stop = self.hub.break_after.pop(path, None)
            self.wfile.write(data[start:stop])
            self.close_connection = stop is not None

    def refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send(self, text: str) -> None:
        data = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing: a test's output is its own."""


def _facts(path: str, data: bytes) -> dict[str, Any]:
    facts: dict[str, Any] = {"size": len(data), "oid": make_commit(data), "blobId": make_commit(data)}
    if path.endswith(LARGE):
        facts["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "sha256": hashlib.sha256(data).hexdigest()}
        facts["lfs"] |= {"size": len(data), "pointerSize": 130}
    return facts


def _etag(path: str, data: bytes) -> str:
    return hashlib.sha256(data).hexdigest() if path.endswith(LARGE) else make_commit(data)


# -- asking it -----------------------------------------------------------------------------------------------------

_ASK = """
import json, logging, sys
from nextword.errors import NextwordError
from nextword.files.sources.resolving import resolve_model

notes = []
class Notes(logging.Handler):
    def emit(self, record):
        notes.append(record.getMessage())
logging.getLogger("nextword").addHandler(Notes())
answers = []
for source in sys.argv[1:]:
    notes.clear()
    try:
        found = {"path": str(resolve_model(source))}
    except NextwordError as error:
        found = {"error": error.message, "hint": error.hint}
    answers.append({**found, "notes": list(notes)})
print(json.dumps(answers))
"""


def environment(hub: Hub, home: Path, **variables: str) -> dict[str, str]:
    """A process's environment in which `hub` is the hub, and everything is kept under `home`."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(("HF_", "HUGGINGFACE_"))}
    ours = {"HF_ENDPOINT": hub.url, "HF_HOME": str(home / "hub"), "NEXTWORD_CACHE": str(home / "nextword")}
    return {**kept, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "PYTHONUTF8": "1", **ours, **variables}


def resolve_all(hub: Hub, home: Path, *sources: str, says: str = "", **variables: str) -> list[dict[str, Any]]:
    """What resolve_model answers to each, in a fresh process: `path`, or `error` and `hint`; and `notes`, what it logs.

    Nothing may be on standard error, but for a line with `says` in it.
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _ASK, *sources],
        capture_output=True,
        encoding="utf-8",
        env=environment(hub, home, **variables),
        check=False,
        timeout=60,
    )
    assert (says in done.stderr) if says else (done.stderr == ""), done.stderr
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


def resolve(hub: Hub, home: Path, source: str, says: str = "", **variables: str) -> dict[str, Any]:
    """The answer to one source."""
    return resolve_all(hub, home, source, says=says, **variables)[0]
