"""`nextword predict`: what comes next, and how probable it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, cast

from cyclopts import Parameter

from nextword.cli.options import DEFAULT_LOADING, Json, LoadingFlags, Model, Overflow, Text, print_json, read_text
from nextword.errors import ConfigError

if TYPE_CHECKING:
    from nextword.generation import Prediction, WordPrediction
    from nextword.language_model import LanguageModel


def predict(
    text: Text,
    *,
    model: Model = None,
    top: Annotated[int, Parameter(name=["--top", "-n"])] = 10,
    words: Annotated[bool, Parameter(negative="")] = False,
    steps: int = 0,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    overflow: Overflow = "slide",
    loading: LoadingFlags = DEFAULT_LOADING,
    as_json: Json = False,
) -> None:
    """Show the most probable next tokens or words of a text, with probability bars.

    Args:
        text: The text to continue.
        model: A model directory, a .gguf file, a pulled name or a hub id.
        top: How many candidates.
        words: Whole words: probability summed over every way to spell them in tokens.
        steps: Take the best candidate, add it to the text, and go on, this many times.
        temperature: Also show the distribution that is drawn from at this temperature.
        top_k: Also show what keeping the k most probable tokens leaves.
        top_p: Also show what keeping the most probable tokens up to this probability leaves.
        min_p: Also show what keeping tokens at least this share as probable as the best leaves.
        overflow: What to do with a text longer than the context.
        loading: Where to run, and what weights are rounded to.
        as_json: Print JSON.
    """
    if steps < 0:
        raise ConfigError(f"steps is {steps}, it must be 0 or more")
    if top < 1:
        raise ConfigError(f"top is {top}, it must be at least 1")
    from nextword.generation.sampling import Sampling
    from nextword.loading import load

    changed = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
    given = {name: value for name, value in changed.items() if value is not None}
    sampling = Sampling(**cast(dict[str, Any], given)) if given else None
    if sampling and (words or steps):
        raise ConfigError("sampling flags show single tokens only", hint="leave out --words and --steps")
    prompt = read_text(text)
    lm = load(model, **loading)
    if steps:
        _predict_steps(lm, prompt, top, words, steps, overflow, as_json)
        return
    if words:
        _show_words(_words(lm, prompt, top, overflow), as_json)
        return
    prediction = lm.predict(prompt, top, overflow=cast(Any, overflow))
    stages = prediction.stages(sampling) if sampling else None
    if as_json:
        values = prediction.to_json()
        if stages is not None:
            for item, candidate in zip(values["candidates"], prediction, strict=True):
                item["sampled"] = float(stages.distribution[candidate.token_id])
            values["discarded_mass"] = stages.discarded_mass
        print_json(values)
        return
    from nextword.terminal.console import make_console
    from nextword.terminal.predictions import show_prediction

    show_prediction(make_console(), prediction, stages)


def _show_words(prediction: WordPrediction, as_json: bool) -> None:
    if as_json:
        print_json(prediction.to_json())
        return
    from nextword.terminal.console import make_console
    from nextword.terminal.predictions import show_words

    show_words(make_console(), prediction)


def _words(lm: LanguageModel, prompt: str, top: int, overflow: str) -> WordPrediction:
    from nextword.terminal.console import make_console

    with make_console(stderr=True).status("following the most probable words"):
        return lm.predict(prompt, top, unit="word", overflow=cast(Any, overflow))


def _predict_steps(
    lm: LanguageModel, prompt: str, top: int, words: bool, steps: int, overflow: str, as_json: bool
) -> None:
    shown = top if as_json else max(top, 4)  # the table has three more beside the one that is taken
    predictions, text = (_word_steps if words else _token_steps)(lm, prompt, shown, steps, overflow)
    if as_json:
        print_json({"prompt": prompt, "text": text, "steps": [prediction.to_json() for prediction in predictions]})
        return
    from nextword.terminal.console import make_console
    from nextword.terminal.predictions import show_steps

    console = make_console()
    show_steps(console, prompt, predictions)
    console.print()
    console.print(text, markup=False, soft_wrap=True)


def _word_steps(
    lm: LanguageModel, text: str, top: int, steps: int, overflow: str
) -> tuple[Sequence[Prediction | WordPrediction], str]:
    predictions: list[WordPrediction] = []
    for _ in range(steps):
        prediction = _words(lm, text, top, overflow)
        if not prediction:  # no word was found within the search's bounds
            break
        predictions.append(prediction)
        if not prediction[0].text:  # the end of the text
            break
        text += prediction[0].spelling
    return predictions, text


def _token_steps(
    lm: LanguageModel, text: str, top: int, steps: int, overflow: str
) -> tuple[Sequence[Prediction | WordPrediction], str]:
    """Goes on with tokens, not with their text: it may be half a character, or be cut into other tokens."""
    from nextword.generation.prediction import predict_ids
    from nextword.tokens import StreamDecoder

    tokenizer = lm.tokenizer
    predictions: list[Prediction] = [lm.predict(text, top, overflow=cast(Any, overflow))]
    ids, decoder = tokenizer.encode_start(text), StreamDecoder()
    while (taken := predictions[-1][0].token_id) not in tokenizer.end_ids:
        ids.append(taken)
        text += decoder.feed(tokenizer.bytes_of([taken], continued=True)[0])
        if len(predictions) == steps:
            break
        predictions.append(predict_ids(lm.backend, tokenizer, text, ids, top, cast(Any, overflow)))
    return predictions, text
