"""LanguageModel: weights, tokenizer and backend together. The object that users hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict, Unpack, cast, overload

from nextword.arguments import OWN_CHECK, Destination, argument, checked
from nextword.config import GPTConfig
from nextword.errors import ConfigError, require_packages
from nextword.files import Bundle, RawTensor, write_bundle
from nextword.files.export import Format, cast_tensors, check_directory_precision, export_model, merge_deprecated_dtype
from nextword.files.tensors import DequantizedTensors
from nextword.formatting import pluralize
from nextword.generation import (
    Backend,
    Generation,
    Memory,
    Prediction,
    Sampling,
    Score,
    TextStream,
    WordPrediction,
    predict_token,
    predict_word,
    score_tokens,
)
from nextword.generation.context import Prompt, fit_to_context, prompt_text
from nextword.generation.other_names import takes_generation_settings
from nextword.generation.sampling import token_biases
from nextword.settings import GenerationKeywords, GenerationSettings, Overflow, Precision
from nextword.tokens import Tokenizer
from nextword.tokens.chat import ChatTemplate

if TYPE_CHECKING:
    from nextword.inspection.edits import Edit, Edits
    from nextword.inspection.gradient import Attribution
    from nextword.inspection.record import Record
    from nextword.inspection.trace import Trace
    from nextword.inspection.weight_checksums import WeightChecksum
    from nextword.model import GPTModel, TorchBackend


_MIN_CACHE_TOKENS = 2048
"""Tokens that the cache has room for which a model keeps from one text to the next."""


class ModelMetadata(TypedDict, total=False):
    """What is known of a model besides its weights and tokenizer; `LanguageModel` says what each is."""

    provenance: Mapping[str, Any] | None
    card: str
    chat_template: str
    recommended: Mapping[str, Any] | None
    notes: Sequence[str]


class LanguageModel:
    """A model with its tokenizer, ready to predict, write and score.

    Get one from `nextword.load` or `nextword.train`, or wrap a GPTModel with `LanguageModel.from_model`.

    Attributes:
        backend: What runs the model; `backend.name` and `backend.reason` say which and why.
        tokenizer: Text to tokens and back.
        config: The architecture.
        provenance: Where the model comes from, as its file says.
        card: The model card, Markdown.
        chat_template: How a conversation is written as one text, Jinja; empty if the model has none.
        recommended: Sampling settings that the model's makers recommend; nothing applies them by itself.
        notes: What was passed over or assumed when the model's files were read, a sentence each.
        edits: Changes that every pass of this model makes; `edit` gives a model that has some.
        draft: A smaller model that guesses ahead when this one writes; the text is the same without it.
    """

    @checked
    def __init__(
        self,
        backend: Backend,
        tokenizer: Tokenizer,
        *,
        provenance: Mapping[str, Any] | None = None,
        card: str = "",
        chat_template: str = "",
        recommended: Mapping[str, Any] | None = None,
        notes: Sequence[str] = (),
        tensors: Mapping[str, RawTensor] | None = None,
        draft: LanguageModel | None = None,
    ) -> None:
        if tokenizer.vocab_size > backend.config.vocab_size:
            raise ConfigError(
                f"the tokenizer has {tokenizer.vocab_size} tokens, the model only {backend.config.vocab_size}"
            )
        self.backend = backend
        self.tokenizer = tokenizer
        self.config: GPTConfig = backend.config
        self.provenance = dict(provenance or {})
        self.card = card
        self.chat_template = chat_template
        self.recommended = dict(recommended or {})
        self.notes = tuple(notes)
        self.edits: tuple[Edit, ...] = ()
        self._unedited: LanguageModel | None = None
        self.draft = draft
        if draft is not None:
            _check_draft(backend, tokenizer, draft)
        self._tensors = tensors  # of a backend that holds no GPTModel: what one is made of when it is needed
        self._reference: TorchBackend | None = None
        self._checksums: Mapping[str, WeightChecksum] = {}
        self._template: ChatTemplate | None = None
        self._read: list[tuple[Backend, Memory]] = []

    @classmethod
    @checked
    def from_model(cls, model: GPTModel, tokenizer: Tokenizer, **about: Unpack[ModelMetadata]) -> LanguageModel:
        """Wraps a GPTModel; it is put into evaluation mode, and runs without dropout whatever mode it is in later.

        Args:
            model: The model.
            tokenizer: Its tokenizer.
            **about: What is known of it; the attributes of the same names.

        Raises:
            ConfigError: The tokenizer has more tokens than the model.
        """
        from nextword.model import TorchBackend

        return cls(TorchBackend(model, "a GPTModel was given"), tokenizer, **about)

    @property
    def model(self) -> GPTModel:
        """The GPTModel; the same as `reference`.

        Raises:
            ConfigError: torch is not installed.
        """
        return self.reference

    def use_torch(self) -> None:
        """Lets torch run the model from now on, so that weights that are changed in `reference` count in everything.

        Raises:
            ConfigError: torch is not installed.
        """
        torch = self._torch()
        if self._plain_backend is not torch:
            torch.reason = "lm.use_torch() was called"
            self._run_on(torch)

    @property
    def dtype(self) -> str:
        """The element type of most weights, as they are held: float32, bfloat16, or a quantised one such as Q4_1."""
        return self.backend.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the weights take, as they are held."""
        return self.backend.nbytes

    @property
    def reference(self) -> GPTModel:
        """The model in torch, for gradients and for changing weights; which backend runs the model stays as it is.

        Where that is the native one, it has weights of its own: `use_torch` before the GPTModel's are changed.

        Raises:
            ConfigError: torch is not installed.
        """
        return self._torch().model

    @property
    def _plain_backend(self) -> Backend:
        """What runs the passes, without the edits."""
        from nextword.inspection.edited_backend import EditedBackend

        return self.backend.plain if isinstance(self.backend, EditedBackend) else self.backend

    def _run_on(self, backend: Backend) -> None:
        """Lets another backend run the passes, under the edits if there are some."""
        from nextword.inspection.edited_backend import EditedBackend

        self.backend = EditedBackend(backend, self.edits) if self.edits else backend

    def _torch(self) -> TorchBackend:
        """The model in torch; made when it is first needed.

        Raises:
            ConfigError: torch is not installed.
        """
        if self._unedited is not None:
            return self._unedited._torch()
        if self._reference is None:
            require_packages("a GPTModel", "torch", "torch")
            from nextword.inspection.weight_checksums import checksum_weights
            from nextword.model import TorchBackend

            if isinstance(self.backend, TorchBackend):
                self._reference = self.backend
            elif self._tensors is None:
                raise ConfigError(f"the {self.backend.name} backend holds no GPTModel")
            else:
                self._reference = TorchBackend.from_stored(self.config, DequantizedTensors(self._tensors), device="cpu")
                self._checksums = checksum_weights(self._reference.model, every=True)
        return self._reference

    def check_weights(self, thoroughly: bool = False) -> None:
        """Whether the backend still runs the weights that the GPTModel has; everything that runs the model asks.

        Args:
            thoroughly: Whether the numbers are looked at, too, which finds what went past PyTorch (`weight.data`).

        Raises:
            ConfigError: The GPTModel's were changed, and a backend that has its own runs.
        """
        source = self if self._unedited is None else self._unedited
        if not source._checksums or source._reference is None or self._plain_backend is source._reference:
            return
        from nextword.inspection.weight_checksums import were_modified

        if were_modified(source._checksums, source._reference.model, thoroughly):
            raise ConfigError(
                f"the weights of lm.reference were changed, but the {self.backend.name} backend runs those of the file",
                hint="lm.use_torch() lets the changed ones count",
            )

    @overload
    def predict(
        self, text: Prompt, top: int = ..., unit: Literal["token"] = ..., overflow: Overflow = ...
    ) -> Prediction: ...
    @overload
    def predict(
        self, text: Prompt, top: int = ..., *, unit: Literal["word"], overflow: Overflow = ...
    ) -> WordPrediction: ...
    @checked
    def predict(
        self, text: Prompt, top: int = 10, unit: Literal["token", "word"] = "token", overflow: Overflow = "slide"
    ) -> Prediction | WordPrediction:
        """The most probable continuations.

        Args:
            text: The text to continue.
            top: How many.
            unit: `token`, or `word`: probability summed over all token paths that spell a word.
            overflow: A text longer than the context: `slide` looks at its newest part, `stop` refuses it.

        Raises:
            TextError: The text is empty, or has words that the tokenizer does not know.
            ContextOverflowError: It is too long and `overflow` is `stop`.
            ConfigError: `top` or `unit` is wrong.
        """
        if top < 1:
            raise ConfigError(f"top is {top}, it must be at least 1")
        self.check_weights()
        if unit == "word":
            return predict_word(self.backend, self.tokenizer, text, top, overflow)
        with self._prefix_cache() as memory:
            return predict_token(self.backend, self.tokenizer, text, top, overflow, memory)

    @takes_generation_settings
    def stream(
        self,
        text: Prompt,
        max_new_tokens: int = 40,
        *,
        memory: Memory | None = None,
        **settings: Unpack[GenerationKeywords],
    ) -> TextStream:
        """Writes on from `text`, piece by piece; see `generate`.

        Returns:
            An iterator of text (never half a character) whose `.generation` holds the whole when it has ended.
        """
        self.check_weights()
        chosen = GenerationSettings(**settings)
        sampling = {one.name: chosen[one.name] for one in fields(Sampling)}
        biases = token_biases(chosen.logit_bias, self.config.vocab_size)
        return TextStream(
            self.backend,
            self.tokenizer,
            text,
            max_new_tokens=max_new_tokens,
            sampling=Sampling(**{**sampling, "logit_bias": biases}),
            memory=memory,
            draft=None if self.draft is None else self.draft.backend,
            **{name: value for name, value in dict(chosen).items() if name not in sampling},
        )

    @takes_generation_settings
    def generate(
        self,
        text: Prompt,
        max_new_tokens: int = 40,
        *,
        memory: Memory | None = None,
        **settings: Unpack[GenerationKeywords],
    ) -> Generation:
        """Writes on from `text`.

        Args:
            text: The text to continue, or its token ids.
            max_new_tokens: Tokens to write at most.
            memory: What an earlier text left in the cache.
            **settings: How; `GenerationSettings` says what each means.

        Raises:
            TextError: The text is empty, or has words that the tokenizer does not know.
            ContextOverflowError: It is longer than the context and `overflow` is `stop`.
            ConfigError: A setting is out of range.
            TypeError: There is no such setting.
        """
        chosen = GenerationSettings(**settings)
        return self._read_stream(partial(self.stream, text, max_new_tokens, **dict(chosen)), memory)

    def _read_stream(self, start: Callable[..., TextStream], memory: Memory | None) -> Generation:
        """A stream read to its end; what the last one left in the cache is read on from, where that changes no bit."""
        with self._prefix_cache() as last:
            stream = start(memory=last if memory is None else memory)
            for _ in stream:
                pass
            return stream.generation

    @contextmanager
    def _prefix_cache(self) -> Iterator[Memory]:
        """What this model read last; nothing where another thread uses that, or where it would change a bit."""
        backend = self.backend
        if not backend.bitwise_invariant:
            yield Memory()
            return
        try:
            owner, memory = self._read.pop()
        except IndexError:
            owner, memory = None, Memory()
        if owner is not backend:  # its cache has room to grow; what is not used of it takes no memory
            capacity = min(_MIN_CACHE_TOKENS, self.config.context_length)
            memory = Memory([], backend.new_cache(capacity), capacity)
        yield memory
        self._read[:] = [(backend, memory)]  # not after an error, which may have left it between two tokens

    @property
    def template(self) -> ChatTemplate:
        """The chat template, ready to write a conversation as text or tokens.

        Raises:
            ConfigError: The model has none.
            ModelFileError: It is not valid.
        """
        if not self.chat_template:
            raise ConfigError(
                "the model has no chat template: it was not trained on conversations",
                hint="generate writes on from a text; nextword pull smollm2 fetches a model to chat with",
            )
        if self._template is None or self._template.source != self.chat_template:
            self._template = ChatTemplate(self.chat_template, self.tokenizer)
        return self._template

    @takes_generation_settings
    def stream_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        max_new_tokens: int = 512,
        *,
        variables: Mapping[str, Any] | None = None,
        memory: Memory | None = None,
        **settings: Unpack[GenerationKeywords],
    ) -> TextStream:
        """Writes the assistant's answer piece by piece; see `chat`."""
        chosen = GenerationSettings(**settings)
        room = self.config.context_length if chosen.overflow == "stop" else None
        ids = self.template.encode(messages, room, **(variables or {}))
        return self.stream(ids, max_new_tokens, memory=memory, **dict(chosen))

    @takes_generation_settings
    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        max_new_tokens: int = 512,
        *,
        variables: Mapping[str, Any] | None = None,
        memory: Memory | None = None,
        **settings: Unpack[GenerationKeywords],
    ) -> Generation:
        """Answers a conversation; the answer is the generation's `text`. A last message of the assistant is continued.

        Args:
            messages: What was said, oldest first: each with a `role` (`system`, `user` or `assistant`) and a `content`.
            max_new_tokens: Tokens to write at most.
            variables: What the template asks for besides, such as `{"enable_thinking": False}`.
            memory: What an earlier text left in the cache.
            **settings: Those of `generate`, with the same defaults.

        Raises:
            ConfigError: The model has no chat template, a message lacks something, the template refuses the
                conversation, or a setting is out of range.
            ModelFileError: The template is faulty or hostile.
            TextError: The messages cannot be encoded.
            ContextOverflowError: They are longer than the context and `overflow` is `stop`.
            TypeError: There is no such setting.
        """
        chosen = GenerationSettings(**settings)
        start = partial(self.stream_chat, messages, max_new_tokens, variables=variables, **dict(chosen))
        return self._read_stream(start, memory)

    @checked
    def score(self, text: Prompt, stride: int | None = None) -> Score:
        """How probable the model finds a text of any length; see `Score`.

        Args:
            text: The text, or its token ids.
            stride: Tokens that each window adds; None: windows of the whole context that do not overlap.

        Raises:
            TextError: The text is empty, or has words that the tokenizer does not know.
            ConfigError: `stride` is out of range.
        """
        self.check_weights()
        return score_tokens(self.backend, self.tokenizer, text, stride)

    # -- inside ----------------------------------------------------------------------------------------------------

    @overload
    def trace(  # type: ignore[overload-overlap]  # a str is a sequence of str too
        self,
        text: Prompt,
        names: Iterable[str] | str | None = ...,
        layers: Sequence[int] | int | None = ...,
        max_bytes: int | None = ...,
        overflow: Overflow = ...,
    ) -> Trace: ...
    @overload
    def trace(
        self,
        text: Sequence[Prompt],
        names: Iterable[str] | str | None = ...,
        layers: Sequence[int] | int | None = ...,
        max_bytes: int | None = ...,
        overflow: Overflow = ...,
    ) -> list[Trace]: ...
    @checked
    def trace(
        self,
        text: Prompt | Sequence[Prompt],
        names: Iterable[str] | str | None = None,
        layers: Sequence[int] | int | None = None,
        max_bytes: int | None = None,
        overflow: Overflow = "slide",
    ) -> Trace | list[Trace]:
        """Every named value of the forward pass over a text, from the embeddings to the logits.

        The pass is the one that predicts, by the same backend, to the bit; it ends behind the last value that is kept.

        Args:
            text: The text, or its token ids; or several of them, which are run together and give a trace each.
            names: Full names (`blocks.3.attn.hook_z`), patterns (`*.hook_resid_post`) or kinds (`pattern`); None is
                everything.
            layers: Only these blocks; None is all.
            max_bytes: Memory that the traces may take together; 2 GiB if not given.
            overflow: A text longer than the context: `slide` looks at its newest part, `stop` refuses it.

        Raises:
            TextError: The text is empty, or has words that the tokenizer does not know.
            ContextOverflowError: It is too long and `overflow` is `stop`.
            ConfigError: A name or layer does not exist, or the trace would be too large.
        """
        from nextword.inspection.capture import MAX_BYTES, TextToTrace, capture_all

        self.check_weights()
        several = isinstance(text, list | tuple) and len(text) > 0 and all(hasattr(one, "__len__") for one in text)
        prompts = cast(Sequence[Prompt], text if several else [text])
        context = self.config.context_length
        fitted = [fit_to_context(self.tokenizer, one, context, overflow) for one in prompts]
        texts = [
            TextToTrace(prompt_text(self.tokenizer, one), ids, dropped)
            for one, (ids, dropped) in zip(prompts, fitted, strict=True)
        ]
        traces = capture_all(
            self._plain_backend,
            self.tokenizer,
            texts,
            names=names,
            layers=layers,
            edits=self.edits,
            max_bytes=MAX_BYTES if max_bytes is None else max_bytes,
        )
        return traces if several else traces[0]

    @checked
    def record(
        self,
        texts: Annotated[Iterable[Prompt], OWN_CHECK],
        out: Destination,
        names: Iterable[str] | str,
        layers: Sequence[int] | int | None = None,
        positions: Sequence[int] | None = None,
        *,
        batch_tokens: int = 2048,
        shard_bytes: int = 256 << 20,
        progress: Callable[[int, int], None] | None = None,
    ) -> Record:
        """Writes values of many texts to a directory, one row a token; see `nextword.inspection.record.record`.

        Args:
            texts: Texts or token ids, taken one by one.
            out: The directory; one that holds a part of this record already is gone on with.
            names: Full names, patterns (`*.hook_resid_post`) or kinds (`resid_post`).
            layers: Only these blocks; None is all.
            positions: Only these places of each text, negative ones from its end; None is every one.
            batch_tokens: Tokens that are read at once, about.
            shard_bytes: Bytes of values in memory, after which a file is written.
            progress: Called with the texts and rows that are done.

        Raises:
            ConfigError: A name or layer does not exist, or what is asked for has no row a token.
            TextError: A text is empty, or cannot be encoded.
            ModelFileError: `out` cannot be written, or holds another record.
        """
        from nextword.inspection.record import record

        self.check_weights()
        return record(
            self.backend,
            self.tokenizer,
            texts,
            Path(out),
            names=names,
            layers=layers,
            positions=positions,
            edits=self.edits,
            batch_tokens=batch_tokens,
            shard_bytes=shard_bytes,
            progress=progress,
        )

    @checked
    def edit(self, *edits: Edits) -> LanguageModel:
        """This model with changes in its forward pass; weights are shared, and this model stays as it is.

        Edits of an edited model are added to those it has. Positions count from the first token that the model sees
        of a text; where its window moves on, in `score` and in `generate`, they stay with their tokens.

        Raises:
            ConfigError: An edit does not fit the architecture.
        """
        from nextword.inspection.edits import flatten

        together = (*self.edits, *(one for edit in flatten(edits) for one in edit.expand(self.config)))
        for edit in together:
            edit.check(self.config)
        edited = LanguageModel(
            self._plain_backend,
            self.tokenizer,
            provenance=self.provenance,
            card=self.card,
            chat_template=self.chat_template,
            recommended=self.recommended,
            notes=self.notes,
        )
        edited.edits = together
        edited._unedited = self if self._unedited is None else self._unedited
        edited._run_on(edited.backend)
        edited.draft = self.draft if edited.backend.bitwise_invariant else None
        return edited

    @checked
    def attribute(self, text: Prompt, target: int | str | None = None, overflow: Overflow = "slide") -> Attribution:
        """How much each token of a text speaks for a next token: gradient x input.

        Args:
            text: The text, or its token ids.
            target: The next token, as id or text; None is the most probable one.
            overflow: A text longer than the context: `slide` looks at its newest part, `stop` refuses it.

        Raises:
            TextError: The text is empty, or cannot be encoded.
            ContextOverflowError: It is too long and `overflow` is `stop`.
            ConfigError: `target` is no single token.
        """
        require_packages("following gradients", "torch", "torch")
        from nextword.inspection.gradient import gradient_x_input

        ids, dropped = fit_to_context(self.tokenizer, text, self.config.context_length, overflow)
        shown = prompt_text(self.tokenizer, text)
        found = gradient_x_input(self.reference, self.tokenizer, shown, ids, target, edits=self.edits)
        return replace(found, dropped_tokens=dropped)

    # -- on disk ---------------------------------------------------------------------------------------------------

    @checked
    def save(
        self,
        path: Destination,
        precision: Precision | None = "auto",
        files: Mapping[str, bytes] | None = None,
        *,
        dtype: str | None = None,
    ) -> Path:
        """Writes the model as a bundle: a directory that other tools open too, where the architecture is standard.

        Args:
            path: The directory; a model that is there already is replaced.
            precision: What weights are written as: float32, float16 or bfloat16; auto keeps the model's.
            files: What lies beside the model, names to contents: how its training went.
            dtype: The old name of `precision`.

        Raises:
            ModelFileError: It cannot be written, or `path` holds something else.
            ConfigError: There is no such precision, or a directory cannot hold it.
        """
        path = Path(path)
        write_bundle(path, self._bundle(merge_deprecated_dtype(precision, dtype)), files)
        return path

    @checked
    def export(
        self,
        path: Destination,
        format: Format = "huggingface",  # noqa: A002
        precision: Precision | None = "auto",
        *,
        dtype: str | None = None,
    ) -> Path:
        """Writes the model for other tools, tokenizer and chat template with it.

        Args:
            path: A directory; for `gguf` also a file that ends in .gguf.
            format: `huggingface` (transformers, vLLM and others) or `gguf` (llama.cpp, Ollama and others).
            precision: float32, float16 or bfloat16 for huggingface, for gguf also blocks, q8_0 to q4_0; auto is the
                model's own, and float32 for gguf.
            dtype: The old name of `precision`.

        Returns:
            The directory or file that was written.

        Raises:
            ConfigError: The format cannot express this architecture (names the field), tokenizer or precision.
            ModelFileError: It cannot be written, or half precision cannot hold a weight.
        """
        return export_model(self._bundle(), Path(path), format, merge_deprecated_dtype(precision, dtype))

    def _bundle(self, precision: str = "auto") -> Bundle:
        if self.edits:
            raise ConfigError(
                "an edited model cannot be written: its changes are no weights", hint="save the model that was edited"
            )
        self.check_weights(thoroughly=True)
        return Bundle(
            self.config,
            self._stored_tensors(precision),
            self.tokenizer,
            self.provenance,
            self.card,
            chat_template=self.chat_template,
            generation=self.recommended,
        )

    def _stored_tensors(self, precision: str) -> dict[str, RawTensor]:
        if self._tensors is not None and self.backend is not self._reference:
            return cast_tensors(self._tensors, precision)
        from nextword.model.backend import stored_tensors

        if precision not in ("auto", "float64"):  # which dtype=, the old name, has
            check_directory_precision(precision)
        stored = stored_tensors(self._torch().model, None if precision == "auto" else precision)
        return {name: RawTensor(name, kind, shape, memoryview(data)) for name, (kind, shape, data) in stored.items()}

    def __getstate__(self) -> dict[str, Any]:
        """What a copy, or another process, is given: not what can be made again."""
        return {**vars(self), "_template": None, "_read": []}

    def __repr__(self) -> str:
        shape = f"{pluralize(self.config.num_layers, 'layers')} x {self.config.d_model}"
        edited = f", {pluralize(len(self.edits), 'edits')}" if self.edits else ""
        return (
            f"<LanguageModel {pluralize(self.config.num_parameters, 'parameters')}, {shape}, "
            f"vocabulary of {self.tokenizer.extent}, {self.backend.name}{edited}>"
        )


def _check_draft(backend: Backend, tokenizer: Tokenizer, draft: LanguageModel) -> None:
    """Whether a model's tokens can be guessed by another.

    Raises:
        ConfigError: Their tokens are not the same, or the model's logits depend on how many tokens are read at once.
    """
    if not backend.bitwise_invariant:
        raise ConfigError(
            f"a draft model cannot help the {backend.name} backend: its logits depend on the batch, in their last bits",
            hint='backend="native" can be helped',
        )
    if draft.tokenizer.vocabulary != tokenizer.vocabulary:
        raise ConfigError(
            f"the draft model has another tokenizer, of {draft.tokenizer.vocab_size:,} tokens where the model has "
            f"{tokenizer.vocab_size:,}",
            hint="a draft model is a smaller one of the same family",
        )


@checked
def generate(model: GPTModel, tokenizer: Tokenizer, start_text: str, max_new_tokens: int) -> str:
    """The lesson's generate: always the most probable next token; start text and continuation together.

    Args:
        model: A GPTModel.
        tokenizer: Its tokenizer.
        start_text: The text to continue.
        max_new_tokens: Tokens to write.

    Raises:
        TextError: The text is empty, or has words that the tokenizer does not know.
    """
    from nextword.model import GPTModel, eval_mode

    with eval_mode(argument("model", model, GPTModel)):
        return str(LanguageModel.from_model(model, tokenizer).generate(start_text, max_new_tokens, temperature=0.0))
