"""Recording: the named values of one forward pass, as the model computed them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from nextword.arguments import checked
from nextword.config import GPTConfig
from nextword.deprecated import warn_deprecated
from nextword.errors import ConfigError
from nextword.formatting import pluralize
from nextword.generation import html
from nextword.generation.backend import Backend
from nextword.generation.prediction import Candidate, topk_candidates
from nextword.inspection.edits import Edit
from nextword.inspection.hook_names import Key, NoSuchValueError, full_name, hook_shapes, is_lazy, layer_of, resolve
from nextword.inspection.inspectable import gptmodel_of, unpack_backend
from nextword.inspection.rebuilt import as_cached, attention_pattern, attention_scores, head_rows
from nextword.tokens import Piece, Tokenizer
from nextword.tokens.visible import shortened

if TYPE_CHECKING:
    from torch import Tensor

    from nextword.inspection.inspectable import InspectableModel
    from nextword.inspection.weight_checksums import WeightChecksum
    from nextword.model import GPTModel

Array = NDArray[Any]

_LOADING = "Trace.load(path, lm)"


class Recording(Mapping[Key, Array]):
    """The values of a forward pass over one text, by name.

    `trace["blocks.3.attn.hook_pattern"]` or, for short, `trace["pattern", 3]`. Arrays have no batch axis, are
    read-only, and hold the model's own numbers (half precision is widened to float32). Scores, patterns and what each
    head added are computed when they are first asked for: what an edit changes never is, it was kept when it ran.

    Attributes:
        text: The text.
        token_ids: Its tokens as the model read them.
        config: The architecture.
        edits: The changes under which the pass ran.
        tokenizer: The model's; None in a trace that was loaded without one.
        cache_format: How keys and values were kept: `float32`, unless the backend rounds them.
        dropped_tokens: Older tokens of the text that did not fit into the context.
    """

    @checked
    def __init__(
        self,
        text: str,
        token_ids: Sequence[int],
        config: GPTConfig,
        values: Mapping[str, Any],
        *,
        edits: Sequence[Edit] = (),
        model: InspectableModel | Backend | GPTModel | None = None,
        tokenizer: Tokenizer | None = None,
        checksums: Mapping[str, WeightChecksum] | None = None,
        dropped_tokens: int = 0,
        cache_format: str = "float32",
    ) -> None:
        self.text = text
        self.dropped_tokens = dropped_tokens
        self.token_ids = tuple(token_ids)
        self.config = config
        self.edits = tuple(edits)
        self.tokenizer = tokenizer
        self.cache_format = cache_format
        self._backend = None if model is None else unpack_backend(model)[0]
        self._checksums = dict(checksums or {})
        self._values: dict[str, Array] = {name: np.asarray(value) for name, value in values.items()}
        self._shapes = hook_shapes(config, len(self.token_ids))

    # -- the mapping -----------------------------------------------------------------------------------------------

    @checked
    def __getitem__(self, key: Key) -> Array:
        array = self._value(key).view()
        array.flags.writeable = False
        return array

    @checked
    def tensor(self, key: Key) -> Tensor:
        """A value as a torch tensor on the CPU; it shares the memory held here and must not be written into.

        Raises:
            ConfigError: The architecture has no such value, or this trace does not hold it.
            NextwordError: It is computed with weights that were changed after the trace was made.
        """
        import torch

        return torch.from_numpy(self._value(key))

    def _value(self, key: Key) -> Array:
        name = self._name(key)
        if name not in self._values:
            if not self._computable(name):
                raise NoSuchValueError(
                    f"this trace does not hold {name}", hint="trace it: lm.trace(text) without names= holds everything"
                )
            self._values[name] = self._computed(name)
        return self._values[name]

    def __contains__(self, key: object) -> bool:
        try:
            name = self._name(key)  # type: ignore[arg-type]
        except (ConfigError, TypeError, ValueError):
            return False
        return name in self._values or self._computable(name)

    def __iter__(self) -> Iterator[Key]:
        return (name for name in self._shapes if name in self._values or self._computable(name))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _ipython_key_completions_(self) -> list[str]:
        """What a notebook offers behind `trace["`."""
        return [str(name) for name in self]

    def _name(self, key: Key) -> str:
        name = full_name(key)
        return name if name in self._shapes else resolve(name, self.config)

    def _computable(self, name: str) -> bool:
        if any(edit.name == name for edit in self.edits):
            return False  # only the pass itself could tell
        block = name.rsplit("hook_", 1)[0]
        match name.rsplit(".", 1)[-1]:
            case "hook_attn_scores":
                return {block + "hook_rot_q", block + "hook_rot_k"} <= self._values.keys()
            case "hook_pattern":
                scores = block + "hook_attn_scores"
                return scores in self._values or self._computable(scores)
            case "hook_result":
                return block + "hook_z" in self._values and self._backend is not None
        return False

    def _computed(self, name: str) -> Array:
        layer = layer_of(name)
        assert layer is not None  # noqa: S101  lazy values belong to blocks
        block = name.rsplit("hook_", 1)[0]
        if name.endswith("hook_pattern"):
            return attention_pattern(self._value(block + "hook_attn_scores"))
        if name.endswith("hook_result"):
            z_THC, projection = self._value(block + "hook_z"), f"{block}out_proj"
            T, H, _ = z_THC.shape
            return self.backend_for(projection).linear(projection, head_rows(z_THC)).reshape(T, H, -1)
        windows = self.config.layer_windows
        q_THC, k_TKC = self._value(block + "hook_rot_q"), self._value(block + "hook_rot_k")
        k_TKC = as_cached(k_TKC, self.cache_format)
        return attention_scores(q_THC, k_TKC, windows[layer] if windows else None)

    def materialize(self) -> Self:
        """Computes every value that is still to be computed; the trace itself."""
        for name in self:
            self._value(name)
        return self

    def copy(self) -> Self:
        """Another one of the same values; what either of them computes from now on it keeps for itself."""
        return type(self)(
            self.text,
            self.token_ids,
            self.config,
            self._values,
            edits=self.edits,
            model=self._backend,
            tokenizer=self.tokenizer,
            checksums=self._checksums,
            dropped_tokens=self.dropped_tokens,
            cache_format=self.cache_format,
        )

    # -- views -----------------------------------------------------------------------------------------------------

    @property
    def backend(self) -> Backend:
        """What ran the pass, without the edits.

        Raises:
            ConfigError: The trace was loaded from a file without its model.
        """
        if self._backend is None:
            raise ConfigError("this trace was loaded without its model", hint=_LOADING)
        return self._backend

    @property
    def model(self) -> GPTModel:
        """The GPTModel that ran.

        Raises:
            ConfigError: The trace was loaded from a file without it, or another backend than torch ran.
        """
        model = gptmodel_of(self.backend)
        if model is None:
            raise ConfigError(
                f"the {self.backend.name} backend ran, which has no GPTModel", hint="lm.reference is the model in torch"
            )
        return model

    @checked
    def backend_for(self, *parts: str) -> Backend:
        """What ran the pass, provided that these parts of it (modules) have the weights that ran.

        Raises:
            ConfigError: The trace was loaded from a file without its model.
            NextwordError: The weights of one were changed after the trace was made.
        """
        backend = self.backend
        if (model := gptmodel_of(backend)) is not None and self._checksums:
            from nextword.inspection.weight_checksums import check_weights

            for part in parts:
                check_weights(self._checksums, model, part)
        return backend

    @property
    def tokens(self) -> list[Piece]:
        """The tokens as a reader sees them; a fragment of a syllable knows which part it is.

        Raises:
            ConfigError: The trace was loaded from a file without a tokenizer.
        """
        if self.tokenizer is None:
            raise ConfigError("this trace was loaded without a tokenizer", hint=_LOADING)
        return self.tokenizer.pieces(self.token_ids)

    @checked
    def residual(self, layer: int) -> Array:
        """[T, D]: the residual stream that block `layer` reads; the one past the last is what the final norm reads."""
        if layer == self.config.num_layers:
            return self["resid_post", layer - 1]
        return self["resid_pre", layer]

    @checked
    def attention(self, layer: int, head: int | None = None) -> Array:
        """How much each token (row) looks at each token (column): [H, T, T], or [T, T] of one head.

        Raises:
            ConfigError: There is no such layer or head.
        """
        pattern_HTS = self["pattern", layer]
        if head is None:
            return pattern_HTS
        if not 0 <= head < self.config.num_heads:
            raise ConfigError(f"there is no head {head}", hint=f"heads are 0 to {self.config.num_heads - 1}")
        return pattern_HTS[head]  # type: ignore[no-any-return]

    @checked
    def top(self, position: int = -1, top: int = 10, *, k: int | None = None) -> list[Candidate]:
        """The `top` most probable tokens after `position`, best first; `k` is its old name."""
        if k is not None:
            warn_deprecated("top(k=...)", "top(top=...)")
            top = k
        position = absolute_position(self, position)
        text_of = (lambda _: "") if self.tokenizer is None else self.tokenizer.text_of
        return topk_candidates(self["logits"][position], top, text_of)

    @property
    def nbytes(self) -> int:
        """Bytes of memory held; values that share theirs count once."""
        held = {value.__array_interface__["data"][0]: value.nbytes for value in self._values.values()}
        return sum(held.values())

    # -- how it looks ----------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {shortened(self.text)!r}: {self._facts()}>"

    def __str__(self) -> str:
        return "\n".join([repr(self), *(f"  {name:<34} {shape}" for name, shape in self._summary())])

    def _repr_html_(self) -> str:
        texts = self.token_ids if self.tokenizer is None else [piece.label for piece in self.tokens]
        rows = [["token", *map(str, texts)], ["id", *map(str, self.token_ids)]]
        tokens = html.table(["position", *map(str, range(len(texts)))], rows)
        return tokens + html.table(["value", "shape"], self._summary(), f"Trace: {self._facts()}")

    def _summary(self) -> list[tuple[str, str]]:
        """Names and shapes; the blocks, which are alike, once."""
        axes = {"hook_attn_scores": "[H, T, S]", "hook_pattern": "[H, T, S]"}
        rows: dict[str, str] = {}
        for name in map(str, self):
            layer, kind = layer_of(name), name.rsplit(".", 1)[-1]
            short = name if layer is None else name.replace(f"blocks.{layer}.", "blocks.*.", 1)
            shape = " x ".join(map(str, self._shapes[name]))
            rows[short] = f"{shape} {axes.get(kind, '')}".strip() + (" (when asked for)" if is_lazy(name) else "")
        return list(rows.items())

    def _facts(self) -> str:
        edited = f", {pluralize(len(self.edits), 'edits')}" if self.edits else ""
        dropped = f", {pluralize(self.dropped_tokens, 'older tokens')} not seen" if self.dropped_tokens else ""
        return (
            f"{pluralize(len(self.token_ids), 'tokens')}, {pluralize(self.config.num_layers, 'layers')}, "
            f"{pluralize(len(self), 'values')}, {self.nbytes / 1e6:.1f} MB{edited}{dropped}"
        )


def absolute_position(trace: Recording, position: int) -> int:
    """A position counted from the text's start.

    Raises:
        ConfigError: The text has no such position.
    """
    count = len(trace.token_ids)
    if not -count <= position < count:
        raise ConfigError(f"there is no position {position}", hint=f"positions are 0 to {count - 1}")
    return position % count
