"""The routes that the page asks: a quick prediction by the engine, then the whole path, layer by layer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from nextword.errors import ModelFileError
from nextword.generation.prediction import predict_token
from nextword.language_model import LanguageModel
from nextword.machine.memory import process_bytes
from nextword.measuring.verification_file import read_verification
from nextword.server.errors import DECLARED, field_errors
from nextword.server.look.schemas import LookRequest, PredictRequest, SampleRequest
from nextword.server.look.traces import TraceStore
from nextword.server.models import Models
from nextword.server.state import State
from nextword.server.workers import CancelToken, cancel_on_disconnect

DescribeRun = Callable[[], dict[str, Any]]
"""Tells of a training run: where it stands, and what it has measured."""

FRAME = "application/octet-stream"
_FRAMES: dict[int | str, dict[str, Any]] = {
    **DECLARED,
    200: {
        "description": "A frame: named arrays in the safetensors format",
        "content": {FRAME: {"schema": {"type": "string", "format": "binary"}}},
    },
}


def look_routes(state: State, traces: TraceStore, describe_run: DescribeRun | None) -> APIRouter:
    """Every route under /look.

    Args:
        state: The models that are served.
        traces: Where traces are made and kept.
        describe_run: Tells of a training run; None where none is served.
    """
    router, models = APIRouter(prefix="/look"), state.models

    async def frame(request: Request, work: Callable[[CancelToken], bytes]) -> Response:
        body = await cancel_on_disconnect(request, traces.worker.run(work))
        return Response(body, media_type=FRAME, headers={"Cache-Control": "no-store"})

    @router.post("/predict", responses=DECLARED)
    async def predict(body: PredictRequest, request: Request) -> dict[str, Any]:
        """What may come next, by the engine."""
        name, lm = await state.model(body.model)
        return await cancel_on_disconnect(
            request, traces.engine.run(lambda cancel_token: _predict(name, lm, body, cancel_token))
        )

    @router.post("", responses=_FRAMES, response_class=Response)
    async def look(body: LookRequest, request: Request) -> Response:
        """The whole path from a text to what comes next, under changes."""
        name, lm = await state.model(body.model)
        return await frame(request, lambda cancel_token: traces.look(name, lm, models.source(name), body, cancel_token))

    @router.get("/about", responses=DECLARED)
    async def about(model: str | None = None) -> dict[str, Any]:
        """What a model is, and how far it was measured to be from the reference."""
        name, lm = await state.model(model)
        return await asyncio.to_thread(_about, name, lm, models)

    @router.get("/run", responses=DECLARED)
    async def training() -> dict[str, Any] | None:
        """The training run that is served; null where none is."""
        return None if describe_run is None else await asyncio.to_thread(describe_run)

    @router.get("/{trace}/block/{layer}", responses=_FRAMES, response_class=Response)
    async def block(trace: str, layer: int, request: Request) -> Response:
        """One layer of a trace."""

        def work(_: CancelToken) -> bytes:
            with field_errors("layer"):
                return traces.block(trace, layer)

        return await frame(request, work)

    @router.get("/{trace}/turns/{layer}/{head}", responses=_FRAMES, response_class=Response)
    async def turns(trace: str, layer: int, head: int, request: Request) -> Response:
        """How queries and keys of one head turn."""
        return await frame(request, lambda _: traces.rope(trace, layer, head))

    @router.post("/{trace}/draw", responses=DECLARED)
    async def draw(trace: str, body: SampleRequest, request: Request) -> dict[str, Any]:
        """A token drawn from a trace's last logits."""
        return await cancel_on_disconnect(request, traces.worker.run(lambda _: traces.sample(trace, body)))

    return router


def _predict(name: str, lm: LanguageModel, body: PredictRequest, cancel_token: CancelToken) -> dict[str, Any]:
    with field_errors(body.given):
        prediction = predict_token(lm.backend, lm.tokenizer, body.prompt, body.top, between=cancel_token.check)
    return {
        "model": {"name": name, "backend": lm.backend.name},
        "tokens": [{"id": p.token_id, "text": p.text, "part": p.part, "parts": p.parts} for p in prediction.pieces],
        "dropped": prediction.dropped_tokens,
        "candidates": [
            {"id": c.token_id, "text": c.text, "probability": c.probability, "logit": c.logit} for c in prediction
        ],
    }


def _about(name: str, lm: LanguageModel, models: Models) -> dict[str, Any]:
    return {
        "name": name,
        "file": models.source(name),
        "dtype": lm.dtype,
        "backend": lm.backend.name,
        "reason": lm.backend.reason,
        "parameters": lm.config.num_parameters,
        "bytes": lm.nbytes,
        "memory": process_bytes(),
        "reference_error": _reference_error(lm, models, name),
        "chat": bool(lm.chat_template),
    }


def _reference_error(lm: LanguageModel, models: Models, name: str) -> dict[str, Any] | None:
    """The largest difference of a logit that `nextword verify` has measured on this very file; None if it has not."""
    try:
        measured = read_verification(models.path(name))
    except ModelFileError:  # damaged: as if it were not there
        return None
    ours = "native" if lm.backend.name == "native" else "float32"
    rows = [] if measured is None else [row for row in measured.comparisons if row.against == "transformers"]
    errors = [row.logits_max for row in rows if row.precision == ours]
    return {"value": max(errors), "against": "transformers"} if errors else None
