"""The page: its files, and what a browser may do with them. Nothing of the API is imported for it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from starlette.types import ASGIApp, Receive, Scope, Send

from nextword.inspection.page_file import INDEX, MODULES, page_files, source_hash, substitute
from nextword.server.errors import ApiError

PAGE_FOLDER = "/page/"

_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


class Page:
    """An ASGI application before another one: the page at `/`, its files under `/page/`.

    The files' folder is named after their content, so that a browser asks for each only once.

    Args:
        app: What answers everything else.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers, or lets the other application answer.

        Raises:
            ApiError: There is no such file, or it is not asked for by GET.
        """
        path = scope["path"]
        if path != "/" and not path.startswith(PAGE_FOLDER):
            await self._app(scope, receive, send)
            return
        item = _answers().get(path)  # a path that is not listed leads nowhere
        if item is None:
            raise ApiError("there is no such page", status=404, code="not_found")
        if scope["method"] != "GET":  # of HEAD the guards make one
            raise ApiError("the page can only be read", status=405, headers={"Allow": "GET, HEAD"})
        if item.tag in dict(scope["headers"]).get(b"if-none-match", b""):
            status, headers, body = 304, list(item.headers), b""
        else:
            status, headers, body = 200, [*item.headers, (b"content-length", str(len(item.data)).encode())], item.data
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@dataclass(frozen=True)
class _Answer:
    data: bytes
    tag: bytes
    headers: tuple[tuple[bytes, bytes], ...]


@cache
def _answers() -> Mapping[str, _Answer]:
    """What is answered, by path; read once."""
    contents = {name: item.read_bytes() for name, item in sorted(page_files().items())}
    whole = hashlib.sha256(b"".join(name.encode() + b"\0" + data for name, data in contents.items()))
    folder = f"{PAGE_FOLDER}{whole.hexdigest()[:16]}/"
    index, imports = _index(contents.pop(INDEX).decode("utf-8"), folder, list(contents))
    forever = "public, max-age=31536000, immutable"
    answers = {folder + name: _answer(name, data, forever) for name, data in contents.items()}
    return {"/": _answer(INDEX, index.encode(), "no-cache", f" {source_hash(imports)}"), **answers}


def _index(index: str, folder: str, names: list[str]) -> tuple[str, str]:
    """The page for that folder, and its import map.

    Modules are named before one asks for the next. Not in a header: they would come before the import map is known.
    """
    imports = json.dumps({"imports": {MODULES: folder}})
    run = [name for name in names if name.endswith(".js") and name != "types.js"]  # which only a type checker reads
    modules = [f'<link rel="modulepreload" href="{folder}{name}">' for name in run]
    places = {
        "style": f'<link rel="stylesheet" href="{folder}style.css">',
        "import map": "\n".join([f'<script type="importmap">{imports}</script>', *modules]),
        "script": f'<script type="module" src="{folder}main.js"></script>',
    }
    return substitute(index, places), imports


def _answer(name: str, data: bytes, keep: str, script: str = "") -> _Answer:
    tag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
    headers = {
        "Content-Type": _TYPES.get(name.rpartition(".")[2], "application/octet-stream"),
        # nothing from elsewhere, nothing written into the page but its import map
        "Content-Security-Policy": f"default-src 'none'; script-src 'self'{script}; style-src 'self'; "
        "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": keep,
        "ETag": tag,
    }
    return _Answer(
        data, tag.encode(), tuple((name.lower().encode(), value.encode()) for name, value in headers.items())
    )
