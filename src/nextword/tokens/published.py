"""Tokenizers of the published kinds, built from a vocabulary and merges; and how the models cut text before merging.

The patterns are those of the models' own tokenizer.json files; the names are llama.cpp's (`tokenizer.ggml.pre`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as RawTokenizer

from nextword.errors import ModelFileError
from nextword.tokenizers_errors import translate_panics
from nextword.tokens.byte_level import QWEN2_PATTERN
from nextword.tokens.sentencepiece import SPACE_SYMBOL

GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_TEKKEN_PATTERN = rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*|\p{{N}}{_REST}"
_SUFFIX = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_GPT4O_PATTERN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_SUFFIX}|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_SUFFIX}"
    rf"|\p{{N}}{{1,3}}{_REST}"
)
_DIGIT = r"\p{N}"
_QWEN35_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_DEEPSEEK3_PATTERN = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class PreTokenizer:
    """How a family of tokenizers cuts text before pairs are merged."""

    patterns: tuple[str, ...]
    """Each cuts further what the one before it has left."""
    ignores_merges: bool = False
    """Whether a piece that is a token as a whole becomes that token, whatever the merges say."""
    adds_bos: bool = False
    """Whether a text begins with the bos token where the file does not say."""


_GPT2 = PreTokenizer((GPT2_PATTERN,))
_QWEN2 = PreTokenizer((QWEN2_PATTERN,))
_DIGITS = PreTokenizer((_DIGIT, GPT2_PATTERN))
_LLAMA3 = PreTokenizer((_LLAMA3_PATTERN,), ignores_merges=True, adds_bos=True)

# Of names with one meaning, the first is the one that is written.
_NAMES: dict[str, PreTokenizer] = {
    "gpt-2 phi-2 olmo mpt exaone4 trillion a.x-4.0 mellum gigachat jais granite-docling": _GPT2,
    "qwen2 deepseek-r1-qwen kormo megrez stablelm2 hunyuan solar-open grok-2 f2llmv2": _QWEN2,
    "smollm starcoder refact command-r codeshell exaone minerva-7b mellum2": _DIGITS,
    "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2": _LLAMA3,
    "dbrx smaug-bpe glm4 chatglm-bpe": PreTokenizer((_LLAMA3_PATTERN,)),
    "gpt-4o llama4 kanana2 talkie minimax-m2": PreTokenizer((_GPT4O_PATTERN,)),
    "deepseek-v3 hunyuan-dense joyai-llm": PreTokenizer((r"\p{N}{1,3}", r"[一-龥぀-ゟ゠-ヿ]+", _DEEPSEEK3_PATTERN)),
    "qwen35": PreTokenizer((_QWEN35_PATTERN,)),
}
PRE_TOKENIZERS: dict[str, PreTokenizer] = {
    **{name: pre_tokenizer for names, pre_tokenizer in _NAMES.items() for name in names.split()},
    "tekken": PreTokenizer((_TEKKEN_PATTERN,), ignores_merges=True, adds_bos=True),
    "deepseek-coder": PreTokenizer((r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", r"[一-龥ࠀ-一가-퟿]+", _DIGIT)),
    "default": PreTokenizer((r"[\p{P}\$\+<=>\^~\|]+", GPT2_PATTERN, r"\p{N}+", r"[0-9][0-9][0-9]")),
}


def pre_tokenizer_named(name: str) -> PreTokenizer:
    """How the tokenizers that llama.cpp knows by this name cut text.

    Raises:
        ModelFileError: The name is not known.
    """
    if name not in PRE_TOKENIZERS:
        raise ModelFileError(f"the pre-tokeniser {name!r} is not known", hint=f"known: {', '.join(PRE_TOKENIZERS)}")
    return PRE_TOKENIZERS[name]


def pre_tokenizer_name(description: Mapping[str, Any]) -> str | None:
    """llama.cpp's name for the way a tokenizer.json cuts text, or None if it has none."""
    patterns = _patterns_of(description["pre_tokenizer"])
    ignores_merges = bool(description["model"].get("ignore_merges"))
    for name, pre_tokenizer in PRE_TOKENIZERS.items():
        if patterns == pre_tokenizer.patterns and ignores_merges == pre_tokenizer.ignores_merges:
            return name
    return None


def _patterns_of(config: Mapping[str, Any] | None) -> tuple[str, ...] | None:
    """The patterns of a byte-level pre-tokeniser, or None if it does anything else."""
    steps = [] if config is None else config["pretokenizers"] if config["type"] == "Sequence" else [config]
    patterns: list[str] = []
    for step in steps:
        match step:
            case {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}:
                patterns.append(pattern)
            case {"type": "Digits", "individual_digits": True}:
                patterns.append(_DIGIT)
            case {"type": "ByteLevel", "add_prefix_space": False, "use_regex": use_regex} if step is steps[-1]:
                return (*patterns, GPT2_PATTERN) if use_regex else tuple(patterns)
            case _:
                return None
    return None


def byte_level_tokenizer(
    vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]], pre_tokenizer: PreTokenizer
) -> RawTokenizer:
    """Byte-level BPE, as GPT-2 brought it up."""
    raw = RawTokenizer(_bpe(vocabulary, merges, ignore_merges=pre_tokenizer.ignores_merges))
    splits = [pre_tokenizers.Split(Regex(pattern), behavior="isolated") for pattern in pre_tokenizer.patterns]
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    raw.decoder = decoders.ByteLevel()
    return raw


def sentencepiece_tokenizer(
    vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]], *, unknown: str | None, add_space_prefix: bool
) -> RawTokenizer:
    """SentencePiece's BPE, as Llama 2 has it.

    Args:
        vocabulary: Token -> id; 256 of them are bytes (`<0xEA>`).
        merges: As `merges_of` finds them.
        unknown: The token for what cannot be spelled.
        add_space_prefix: Whether a blank is put before a text.
    """
    raw = RawTokenizer(_bpe(vocabulary, merges, unk_token=unknown, fuse_unk=True, byte_fallback=True))
    blanks = normalizers.Replace(" ", SPACE_SYMBOL)
    raw.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE_SYMBOL), blanks]) if add_space_prefix else blanks
    strip = [decoders.Strip(" ", 1, 0)] if add_space_prefix else []
    raw.decoder = decoders.Sequence(
        [decoders.Replace(SPACE_SYMBOL, " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    return raw


def add_tokens(raw: RawTokenizer, tokens: Iterable[str], *, special: bool) -> None:
    """Marks tokens of the vocabulary as whole: special ones only code inserts, the others are found in any text."""
    raw.add_tokens([AddedToken(token, special=special, normalized=False) for token in tokens])


def add_bos(raw: RawTokenizer, bos: str) -> None:
    """Has every text begin with `bos`."""
    special = {"id": "bos", "ids": [raw.token_to_id(bos)], "tokens": [bos]}
    raw.post_processor = processors.TemplateProcessing(single=["bos", "$A"], special_tokens=[special])


def merges_of(vocabulary: Mapping[str, int], scores: Mapping[str, float]) -> list[tuple[str, str]]:
    """SentencePiece's merges, which its files do not list: every pair that makes a token with a score, best first.

    Args:
        vocabulary: Token -> id.
        scores: The score of each token that merging may arrive at.
    """
    found = [
        (token, token[:cut], token[cut:])
        for token in scores
        for cut in range(1, len(token))
        if token[:cut] in vocabulary and token[cut:] in vocabulary
    ]
    found.sort(key=lambda item: (-scores[item[0]], -len(item[1]), -len(item[2]), vocabulary[item[0]]))
    return [(left, right) for _, left, right in found]


def _bpe(vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]], **options: Any) -> models.BPE:
    with translate_panics(lambda said: ModelFileError(f"the merges do not fit the vocabulary: {said}")):
        return models.BPE(dict(vocabulary), list(merges), **options)
