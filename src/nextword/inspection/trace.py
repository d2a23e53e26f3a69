"""Trace: a recording of a forward pass that can be read: lens and attribution, files, the page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nextword.arguments import Destination, checked
from nextword.files.atomic import replace_file
from nextword.generation.backend import Backend
from nextword.inspection.attribution import LogitAttribution, logit_attribution
from nextword.inspection.fitted_lens import FittedLens
from nextword.inspection.frames import Facts
from nextword.inspection.lens import Lens, logit_lens
from nextword.inspection.page_file import trace_html
from nextword.inspection.recording import Recording
from nextword.inspection.trace_files import read_recording, write_recording
from nextword.tokens import Tokenizer

if TYPE_CHECKING:
    from nextword.inspection.inspectable import InspectableModel
    from nextword.model import GPTModel


class Trace(Recording):
    """The values of a forward pass over one text, by name, and what is read from them.

    `trace["blocks.3.attn.hook_pattern"]` or, for short, `trace["pattern", 3]`. Arrays have no batch axis, are
    read-only, and hold the model's own numbers (half precision is widened to float32). Scores, patterns and what each
    head added are computed when they are first asked for: what an edit changes never is, it was kept when it ran.
    """

    @checked
    def lens(self, top: int = 5, positions: Sequence[int] | None = None, *, lens: FittedLens | None = None) -> Lens:
        """What each layer would predict if it were the last, or through a fitted lens; see `lens.logit_lens`."""
        return logit_lens(self, top, positions, lens=lens)

    @checked
    def attribution(
        self, target: int | str | None = None, position: int = -1, against: int | str | None = None
    ) -> LogitAttribution:
        """What each head and each feed-forward layer added to a logit; see `attribution.logit_attribution`."""
        return logit_attribution(self, target, position, against)

    # -- on disk ---------------------------------------------------------------------------------------------------

    @checked
    def save(self, path: Destination) -> Path:
        """Writes a directory with the values (safetensors) and what they are (JSON).

        Raises:
            ModelFileError: It cannot be written, or `path` holds something that is no trace.
        """
        return write_recording(Path(path), self, self._values, self._checksums, self._backend)

    @classmethod
    @checked
    def load(
        cls,
        path: str | Path,
        model: InspectableModel | Backend | GPTModel | None = None,
        tokenizer: Tokenizer | None = None,
    ) -> Trace:
        """Reads what `save` wrote.

        Args:
            path: The directory.
            model: The model that ran, a LanguageModel, backend or GPTModel; lens, attribution and what each head added
                need its weights.
            tokenizer: Its tokenizer, which the tokens' texts need; None is the LanguageModel's.

        Raises:
            ModelFileError: It is missing or damaged, or was made with another model.
        """
        return read_recording(cls, Path(path), model, tokenizer)

    @checked
    def to_html(
        self, path: Destination | None = None, *, plain: Trace | None = None, facts: Facts | None = None
    ) -> str:
        """The page that shows this trace, as one HTML file that needs no server and no network.

        Args:
            path: Where it is written as well; None: nowhere.
            plain: The same text without this trace's edits: the page then shows before and after.
            facts: What is said beside the values: the model's name, the changes as Python.

        Raises:
            ConfigError: The trace lacks one of `frames.shown_names`, its model or its tokenizer.
            ModelFileError: The file cannot be written.
        """
        html = trace_html(self, facts, plain)
        if path is not None:
            with replace_file(Path(path)) as fresh:
                fresh.write_text(html, encoding="utf-8", newline="\n")
        return html
