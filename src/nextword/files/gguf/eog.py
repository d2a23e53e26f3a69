"""Which tokens end what a model writes, as llama.cpp decides it.

It goes by the keys of the file and, whatever type the file gives a token, by a list of spellings (`special_eog_ids` in
its llama-vocab.cpp): converters have marked the same token as control, as user-defined and as normal.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

EOG_KEYS = ("eos", "eot", "eom", "fim_pad", "fim_rep", "fim_sep")
"""The tokens with a key of their own that end a text; the last three begin another file of a code model."""

_ENDS = frozenset(
    [
        "<|eot_id|>",
        "<|im_end|>",
        "<|end|>",
        "<|return|>",
        "<|call|>",
        "<|flush|>",
        "<|calls|>",
        "<end_of_turn>",
        "<|endoftext|>",
        "</s>",
        "<|eom_id|>",
        "<EOT>",
        "_<EOT>",
        "[EOT]",
        "[EOS]",
        "<|end_of_text|>",
        "<end_of_utterance>",
        "<eos>",
        "<turn|>",
        "<|tool_response>",
        "<｜end▁of▁sentence｜>",
        "[e~[",
    ]
)
# How tokens are spelled for which a file has no key.
_SPELLINGS = {
    "fim_pad": ("<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"),
    "fim_rep": ("<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"),
    "fim_sep": ("<|file_sep|>",),
}
# In these formats a part of an answer ends with a token that ends whole answers elsewhere.
_ONLY_PARTS = (
    ({"<|return|>", "<|call|>"}, "<|end|>"),
    ({"<|return|>", "<|calls|>"}, "<|end|>"),
    ({"<|flush|>", "<|call|>"}, "<|end|>"),
    ({"<|flush|>", "<|calls|>"}, "<|end|>"),
    ({"<|tool_response>"}, "</s>"),
)


def is_eog_spelling(token: str) -> bool:
    """Whether a token ends a text by its spelling alone."""
    return token in _ENDS or any(token in spellings for spellings in _SPELLINGS.values())


def eog_tokens(vocabulary: Collection[str], keyed: Mapping[str, str | None]) -> set[str]:
    """Every token that ends a text.

    Args:
        vocabulary: The tokens.
        keyed: For each of `EOG_KEYS` the token that its key names; None where there is no key.
    """
    found = {token for token in keyed.values() if token is not None}
    found |= _ENDS.intersection(vocabulary)
    for key, spellings in _SPELLINGS.items():
        if keyed.get(key) is None:
            found.update([spelling for spelling in spellings if spelling in vocabulary][:1])
    return found - {part for others, part in _ONLY_PARTS if others <= found}
