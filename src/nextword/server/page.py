"""The page: its files, and what a browser may do with them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from fastapi import APIRouter, Request
from fastapi.responses import Response

from nextword.inspection.page_file import INDEX, import_map, page_files, source_hash
from nextword.server.errors import ApiError

_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


def page_routes() -> APIRouter:
    """The page at `/`, its files under `/page/`."""
    router = APIRouter(include_in_schema=False)

    @router.api_route("/", methods=["GET", "HEAD"])
    async def index(request: Request) -> Response:
        return _answer(request, INDEX)

    @router.api_route("/page/{name:path}", methods=["GET", "HEAD"])
    async def file(request: Request, name: str) -> Response:
        return _answer(request, name)

    return router


def _answer(request: Request, name: str) -> Response:
    item = _files().get(name)  # a name that is not in the walked folder leads nowhere
    if item is None:
        raise ApiError("there is no such page", status=404, code="not_found")
    if item.headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=item.headers)
    return Response(item.data, media_type=item.kind, headers=item.headers)


@dataclass(frozen=True)
class _File:
    data: bytes
    kind: str
    headers: Mapping[str, str]


@cache
def _files() -> Mapping[str, _File]:
    """What is answered, by name; read once."""
    found = {}
    for name, item in page_files().items():
        data = item.read_bytes()
        headers = {
            "Content-Security-Policy": _policy(data.decode("utf-8") if name == INDEX else ""),
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-cache",
            "ETag": f'"{hashlib.sha256(data).hexdigest()[:32]}"',
        }
        found[name] = _File(data, _TYPES.get(name.rpartition(".")[2], "application/octet-stream"), headers)
    return found


def _policy(index: str) -> str:
    """Nothing from elsewhere, nothing written into the page but its import map."""
    script = f" {source_hash(import_map(index))}" if index else ""
    return (
        f"default-src 'none'; script-src 'self'{script}; style-src 'self'; img-src 'self' data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
