"""`nextword cloze`: what a model knows of ordinary language."""

from __future__ import annotations

from pathlib import Path

from nextword.cli.options import DEFAULT_LOADING, Flag, Json, LoadingFlags, ModelArgument, print_json


def cloze(
    model: ModelArgument = None,
    file: Path | None = None,
    *,
    misses: Flag = False,
    loading: LoadingFlags = DEFAULT_LOADING,
    as_json: Json = False,
) -> None:
    """Ask a model for the next word of ordinary sentences, English and Korean, and count how often it is right.

    Several words are right after each opening, such as tea, coffee or water after "I drank a cup of". Counted are
    the most probable word, the five most probable ones, and the probability of all that are right.

    Args:
        model: The model.
        file: Openings of your own, a line each: kind, opening and accepted words (tea|coffee, tea~ for all words that
            begin so, +er for what needs no blank), with tabs between.
        misses: Show what the model expects where it missed.
        loading: Where to run, and what weights are rounded to.
        as_json: Print JSON: every answer, or those that missed.
    """
    from nextword.errors import ConfigError
    from nextword.loading import load
    from nextword.measuring.cloze import Answer, Cloze, answer_of, read_openings, shipped_openings
    from nextword.terminal.cloze_view import show_cloze
    from nextword.terminal.console import make_console

    if file is None and model is not None and Path(model).suffix in {".tsv", ".txt", ".csv"}:
        raise ConfigError(f"{model} is no model", hint=f"openings come second: nextword cloze nextword {model}")
    openings = shipped_openings() if file is None else read_openings(file)
    lm = load(model, **loading)
    answers: list[Answer] = []
    stopped: KeyboardInterrupt | None = None
    with make_console(stderr=True).status("reading") as status:
        try:
            for opening in openings:
                answers.append(answer_of(lm, opening))
                status.update(f"{len(answers)} of {len(openings)} openings")
        except KeyboardInterrupt as error:
            stopped = error  # what is known by then is worth showing
    if answers:
        measured = Cloze(tuple(answers))
        if as_json:
            print_json({"asked": len(openings), **measured.to_json(misses=misses)})
        else:
            show_cloze(make_console(), measured, len(openings), misses=misses)
    if stopped is not None:
        raise stopped
