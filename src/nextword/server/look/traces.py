"""Traces for the page: made one at a time in a thread of their own, kept while they are used, the oldest let go."""

from __future__ import annotations

import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nextword.errors import ConfigError, ContextOverflowError, TextError
from nextword.generation.context import fit_to_context
from nextword.generation.sampling import Sampling, Stages
from nextword.inspection import edits
from nextword.inspection.edits import Edits
from nextword.inspection.frames import (
    Facts,
    block_frame,
    edit_code,
    look_frame,
    shown_names,
    token_texts,
    turns_frame,
)
from nextword.inspection.trace import Trace
from nextword.language_model import LanguageModel
from nextword.server.errors import ApiError, field_errors
from nextword.server.look.schemas import (
    BlockPart,
    EditSpec,
    HeadEdit,
    LayerEdit,
    LookRequest,
    MlpEdit,
    PartSpec,
    PatchEdit,
    RopePart,
    SampleRequest,
    TokenEdit,
)
from nextword.server.workers import CancelToken, Worker

MAX_TRACES = 16
MAX_BYTES = 1024**3
MAX_TOKENS = 512
"""Of a text that is looked at: attention patterns and the lens grow with it."""
MAX_MODELS = 4
"""Whose traces are kept: each trace holds its model."""


@dataclass(frozen=True)
class StoredTrace:
    """A trace, and what the page is told of it."""

    model: str
    trace: Trace
    frame: bytes


class TraceStore:
    """The traces that are kept, by name; only the worker's thread touches them.

    The name follows from what was asked, so that a page finds its trace again after it had to be made anew.

    Args:
        max_traces: How many are kept.
        max_bytes: What they may hold together; the one that was asked for last stays in any case.
    """

    def __init__(self, max_traces: int = MAX_TRACES, max_bytes: int = MAX_BYTES) -> None:
        self.worker, self.engine = Worker("look"), Worker("predict")
        self._traces: OrderedDict[str, StoredTrace] = OrderedDict()
        self._max_traces, self._max_bytes = max_traces, max_bytes

    def close(self) -> None:
        """Begins nothing new."""
        for worker in (self.worker, self.engine):
            worker.close()

    # -- in the worker's thread ------------------------------------------------------------------------------------

    def look(self, name: str, lm: LanguageModel, file: str, request: LookRequest, cancel_token: CancelToken) -> bytes:
        """The frame of a text under changes, and behind it the frames of the parts that are asked for.

        Raises:
            ClientDisconnectedError: Whoever asked is gone.
            ConfigError: A change does not fit.
            TextError: The text is empty, cannot be encoded, or is longer than what is looked at.
        """
        begun = time.monotonic()
        with field_errors(request.given):
            ids, dropped = _encode(lm, request.prompt)
        spelling = [name, request.prompt, [spec.model_dump() for spec in request.edits]]
        trace_id = hashlib.sha256(json.dumps(spelling).encode()).hexdigest()[:24]
        if trace_id in self._traces and self._traces[trace_id].trace.backend is lm.backend:
            return self.get(trace_id).frame + self._part_frames(trace_id, request.parts)
        cancel_token.check()
        with field_errors("edits"):
            changes = [self._edit(spec, name, lm, len(ids)) for spec in request.edits]
            edited = lm.edit(*(edits for edits, _ in changes)) if changes else lm
        cancel_token.check()
        trace = self._trace(edited, request.prompt)

        about = {"name": name, "file": file, "bytes": lm.nbytes}
        labels = [label for _, labels in changes for label in labels]
        facts = Facts(trace_id, about, dropped, labels, time.monotonic() - begun)
        stored = self._traces[trace_id] = StoredTrace(name, trace, look_frame(trace, facts))
        self._traces.move_to_end(trace_id)
        while len(self._traces) > 1 and self._is_over_limit():
            self._traces.popitem(last=False)
        return stored.frame + self._part_frames(trace_id, request.parts)

    def get(self, trace_id: str) -> StoredTrace:
        """A trace that was made before.

        Raises:
            ApiError: It is not kept.
        """
        if trace_id not in self._traces:
            raise ApiError(
                "there is no such trace, or it is no longer kept",
                hint="POST /look again",
                status=404,
                param="trace",
                code="trace_not_found",
            )
        self._traces.move_to_end(trace_id)
        return self._traces[trace_id]

    def block(self, trace_id: str, layer: int) -> bytes:
        """One layer of a trace."""
        return block_frame(self.get(trace_id).trace.copy(), layer)  # a copy: what is computed for it is not kept

    def rope(self, trace_id: str, layer: int, head: int) -> bytes:
        """How queries and keys of a head of a trace turn."""
        return turns_frame(self.get(trace_id).trace, layer, head)

    def sample(self, trace_id: str, request: SampleRequest) -> dict[str, Any]:
        """A token that may follow the text, and its probability among those that were drawn from."""
        trace = self.get(trace_id).trace
        logits_V, ids = trace["logits"][-1], trace.token_ids
        sampling = Sampling(request.temperature, request.top_k, request.top_p, request.min_p)
        token = sampling.draw(logits_V, ids, np.random.default_rng([request.seed, len(ids)]))
        tokenizer = trace.tokenizer
        assert tokenizer is not None  # noqa: S101  of a LanguageModel
        return {
            "id": token,
            "text": token_texts(tokenizer, [token])[str(token)],
            "end": token in tokenizer.end_ids,
            "probability": float(Stages.of(logits_V, sampling, ids).distribution[token]),
        }

    def _part_frames(self, trace_id: str, parts: Sequence[PartSpec]) -> bytes:
        frames = []
        for part in parts:
            with field_errors("parts"):
                match part:
                    case BlockPart(layer=layer):
                        frames.append(self.block(trace_id, layer))
                    case RopePart(layer=layer, head=head):
                        frames.append(self.rope(trace_id, layer, head))
        return b"".join(frames)

    def _is_over_limit(self) -> bool:
        size = sum(stored.trace.nbytes + len(stored.frame) for stored in self._traces.values())
        models = {id(stored.trace.backend) for stored in self._traces.values()}
        return len(self._traces) > self._max_traces or size > self._max_bytes or len(models) > MAX_MODELS

    def _trace(self, lm: LanguageModel, prompt: str | Sequence[int]) -> Trace:
        return lm.trace(prompt, names=shown_names(lm.config), overflow="slide", max_bytes=self._max_bytes)

    def _edit(self, spec: EditSpec, name: str, lm: LanguageModel, count: int) -> tuple[Edits, list[str]]:
        """A change, and the Python that makes it."""
        change: Edits
        match spec:
            case HeadEdit(layer=layer, head=head, factor=factor):
                off = factor == 0
                change = edits.ablate_head(layer, head) if off else edits.scale(("z", layer), factor, heads=[head])
            case MlpEdit(layer=layer):
                change = edits.ablate_mlp(layer)
            case LayerEdit(layer=layer):
                change = edits.ablate_layer(layer)
            case TokenEdit(position=position, id=token):
                _check_index("position", position, count)
                change = edits.swap_embedding(position, token)
            case PatchEdit(row=row, position=position, from_ids=other_ids, from_position=other_position):
                layers = lm.config.num_layers
                _check_index("position", position, count)
                _check_index("lens row", row, layers + 1)
                _check_index("position of the other text", other_position, len(other_ids))
                other = self._patch_source(name, lm, other_ids)
                key = ("resid_pre", row) if row < layers else ("resid_post", layers - 1)
                change = edits.set_value(key, other.residual(row)[other_position], positions=[position])
                value = f"{_trace_code(other)}.residual({row})[{other_position}]"
                return change, [f'nextword.set_value(("{key[0]}", {key[1]}), {value}, positions=[{position}])']
        return change, edit_code(edits.flatten([change]))

    def _patch_source(self, name: str, lm: LanguageModel, ids: Sequence[int]) -> Trace:
        """The unchanged run of other tokens; it is there already if the page has looked at them."""
        for trace_id, stored in self._traces.items():
            same = stored.trace.backend is lm.backend
            if same and (stored.model, stored.trace.token_ids, stored.trace.edits) == (name, tuple(ids), ()):
                return self.get(trace_id).trace
        _encode(lm, ids)
        if len(ids) > lm.config.context_length:
            raise ContextOverflowError(len(ids), lm.config.context_length)
        return self._trace(lm, ids)


def _encode(lm: LanguageModel, prompt: str | Sequence[int]) -> tuple[list[int], int]:
    ids, dropped = fit_to_context(lm.tokenizer, prompt, lm.config.context_length, "slide")
    if len(ids) > MAX_TOKENS:
        raise TextError(f"the text has {len(ids):,} tokens, the page looks at {MAX_TOKENS} at most")
    return ids, dropped


def _trace_code(trace: Trace) -> str:
    """The Python that makes a trace: of its text, where that becomes the same tokens again."""
    ids = list(trace.token_ids)
    try:
        again = trace.tokenizer is not None and trace.tokenizer.encode_start(trace.text) == ids
    except TextError:
        again = False
    return f"lm.trace({json.dumps(trace.text, ensure_ascii=False) if again else ids})"


def _check_index(what: str, number: int, count: int) -> None:
    if number >= count:
        raise ConfigError(f"there is no {what} {number}", hint=f"they are 0 to {count - 1}")
