"""LanguageModel: weights, tokenizer and backend together. The object that users hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from nextword.config import GPTConfig
from nextword.errors import ConfigError, ModelFileError, missing_extra
from nextword.files import Bundle, RawTensor, read_bundle, write_bundle
from nextword.generation import (
    Backend,
    Generation,
    Prediction,
    Sampling,
    Score,
    TextStream,
    WordPrediction,
    predict_token,
    predict_word,
    score_tokens,
)
from nextword.generation.context import Overflow
from nextword.tokens import Tokenizer

if TYPE_CHECKING:
    from nextword.model import GPTModel

DEFAULT_MODEL = Path(__file__).parent / "default_model"


class LanguageModel:
    """A model with its tokenizer, ready to predict, write and score.

    Get one from `nextword.load` or `nextword.train`, or wrap a GPTModel with `LanguageModel.from_model`.

    Attributes:
        backend: What runs the model; `backend.name` and `backend.reason` say which and why.
        tokenizer: Text to tokens and back.
        config: The architecture.
        provenance: Where the model comes from, as its file says.
        card: The model card, Markdown.
    """

    def __init__(
        self,
        backend: Backend,
        tokenizer: Tokenizer,
        *,
        provenance: Mapping[str, Any] | None = None,
        card: str = "",
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

    @classmethod
    def from_model(cls, model: GPTModel, tokenizer: Tokenizer, **about: Any) -> LanguageModel:
        """Wraps a GPTModel; it is put into evaluation mode.

        Raises:
            ConfigError: The tokenizer has more tokens than the model.
        """
        from nextword.model import TorchBackend

        return cls(TorchBackend(model, "a GPTModel was given"), tokenizer, **about)

    @property
    def model(self) -> GPTModel:
        """The GPTModel, where torch runs it.

        Raises:
            ConfigError: Another backend runs this model.
        """
        model: GPTModel | None = getattr(self.backend, "model", None)
        if model is None:
            raise ConfigError(
                f"the {self.backend.name} backend holds no GPTModel", hint='load(..., backend="torch") does'
            )
        return model

    @overload
    def predict(
        self, text: str, top: int = ..., unit: Literal["token"] = ..., overflow: Overflow = ...
    ) -> Prediction: ...
    @overload
    def predict(
        self, text: str, top: int = ..., *, unit: Literal["word"], overflow: Overflow = ...
    ) -> WordPrediction: ...
    def predict(
        self, text: str, top: int = 10, unit: str = "token", overflow: Overflow = "slide"
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
        if unit == "word":
            return predict_word(self.backend, self.tokenizer, text, top, overflow)
        if unit != "token":
            raise ConfigError(f"unit is {unit!r}, it must be token or word")
        return predict_token(self.backend, self.tokenizer, text, top, overflow)

    def stream(
        self,
        text: str,
        max_new_tokens: int = 40,
        temperature: float = 0.8,
        top_k: int | None = None,
        top_p: float = 0.95,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        seed: int | None = None,
        stop: str | Sequence[str] = (),
        logprobs: int = 0,
        overflow: Overflow = "slide",
    ) -> TextStream:
        """Writes on from `text`, piece by piece; see `generate` for the settings.

        Returns:
            An iterator of text (never half a character) whose `.generation` holds the whole when it has ended.
        """
        sampling = Sampling(temperature, top_k, top_p, min_p, repetition_penalty)
        return TextStream(
            self.backend,
            self.tokenizer,
            text,
            max_new_tokens=max_new_tokens,
            sampling=sampling,
            seed=seed,
            stop=stop,
            logprobs=logprobs,
            overflow=overflow,
        )

    def generate(self, text: str, max_new_tokens: int = 40, **settings: Any) -> Generation:
        """Writes on from `text`.

        Args:
            text: The text to continue.
            max_new_tokens: Tokens to write at most.
            **settings: Those of `stream`. `temperature` (0.8; 0 always takes the most probable token), `top_k`
                (None), `top_p` (0.95), `min_p` (0), `repetition_penalty` (1: none), `seed` (None: different every
                time), `stop` (strings that end the text), `logprobs` (alternatives recorded a token), `overflow`
                (`slide` or `stop`).

        Raises:
            TextError: The text is empty, or has words that the tokenizer does not know.
            ContextOverflowError: It is longer than the context and `overflow` is `stop`.
            ConfigError: A setting is out of range.
        """
        stream = self.stream(text, max_new_tokens, **settings)
        for _ in stream:
            pass
        return stream.generation

    def score(self, text: str, stride: int | None = None) -> Score:
        """How probable the model finds a text of any length; see `Score`.

        Args:
            text: The text.
            stride: Tokens that each window adds; None: windows of the whole context that do not overlap.

        Raises:
            TextError: The text is empty, or has words that the tokenizer does not know.
            ConfigError: `stride` is out of range.
        """
        return score_tokens(self.backend, self.tokenizer, text, stride)

    def save(self, path: str | Path, dtype: str | None = None) -> Path:
        """Writes the model as a bundle: a directory that other tools open too, where the architecture is standard.

        Args:
            path: The directory; a model that is there already is replaced.
            dtype: Element type on disk (float32, float16, bfloat16); None keeps the model's.

        Raises:
            ModelFileError: It cannot be written, or `path` holds something else.
            ConfigError: There is no such dtype.
        """
        from nextword.model.backend import stored_tensors

        tensors = {
            name: RawTensor(name, kind, shape, memoryview(data))
            for name, (kind, shape, data) in stored_tensors(self.model, dtype).items()
        }
        path = Path(path)
        write_bundle(path, Bundle(self.config, tensors, self.tokenizer, self.provenance, self.card))
        return path

    def __repr__(self) -> str:
        shape = f"{self.config.num_layers} layers x {self.config.d_model}"
        return (
            f"<LanguageModel {self.config.num_parameters:,} parameters, {shape}, "
            f"{self.tokenizer.vocab_size:,} {self.tokenizer.kind}, {self.backend.name}>"
        )


def load(
    source: str | Path | None = None,
    *,
    backend: Literal["auto", "native", "torch"] = "auto",
    device: str = "auto",
    dtype: str | None = None,
) -> LanguageModel:
    """Loads a model.

    Args:
        source: A model directory; None is the model that ships with nextword.
        backend: `torch`, or `auto`, which takes the fastest that is there.
        device: `auto`, `cpu`, `cuda` or `mps`.
        dtype: Precision to compute in (float32 by default, bfloat16, float16, float64).

    Raises:
        ModelFileError: It does not exist, or its files are damaged or unsupported.
        ConfigError: The backend, device or dtype is not available.
    """
    if backend not in ("auto", "torch"):
        raise ConfigError(f"backend {backend!r} is not available in this version", hint="backends: auto, torch")
    path = DEFAULT_MODEL if source is None else Path(source)
    if not path.exists():
        raise ModelFileError(
            f"there is no model at {path}", hint="train one: nextword train my.txt --out my-model --minutes 2"
        )
    if find_spec("torch") is None:
        raise missing_extra("torch", "torch", "running a model")
    from nextword.model import TorchBackend

    bundle = read_bundle(path)
    reason = "asked for" if backend == "torch" else "the only backend in this version"
    run = TorchBackend.from_stored(bundle.config, bundle.tensors, device=device, dtype=dtype, reason=reason)
    return LanguageModel(run, bundle.tokenizer, provenance=bundle.provenance, card=bundle.card)


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
    if not isinstance(tokenizer, Tokenizer):
        raise ConfigError(
            f"generate needs a Tokenizer, not {type(tokenizer).__name__}", hint="Tokenizer.words(vocabulary) makes one"
        )
    lm = LanguageModel.from_model(model, tokenizer)
    return str(lm.generate(start_text, max_new_tokens, temperature=0.0))
