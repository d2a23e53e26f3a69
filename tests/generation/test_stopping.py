"""Stop strings, wherever the text is cut into pieces."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextword.errors import ConfigError
from nextword.generation.stopping import StopStrings

TEXTS = st.text("abc한🙂", max_size=30)
STOPS = st.lists(st.text("abc한🙂", min_size=1, max_size=4), max_size=4)


def cut(text: str, places: list[int]) -> list[str]:
    edges = [0, *sorted(min(place, len(text)) for place in places), len(text)]
    return [text[a:b] for a, b in itertools.pairwise(edges)]


def fed(stops: list[str], pieces: list[str]) -> tuple[list[str], bool]:
    """What comes out for each piece and at the end, and whether a stop string was found."""
    watcher = StopStrings(stops)
    shown = [watcher.feed(piece) for piece in pieces]
    return [*shown, watcher.flush()], watcher.found


@given(TEXTS, st.text("abc한", min_size=1, max_size=4), st.lists(st.integers(0, 30)))
@settings(deadline=None, max_examples=300)
def test_one_stop_string_splits_the_text_wherever_it_is_cut(text: str, stop: str, places: list[int]) -> None:
    shown, found = fed([stop], cut(text, places))
    assert "".join(shown) == text.split(stop, maxsplit=1)[0]
    assert found == (stop in text)


@given(TEXTS, STOPS, st.lists(st.integers(0, 30)))
@settings(deadline=None, max_examples=300)
def test_of_several_the_one_that_is_complete_first_splits_the_text(
    text: str, stops: list[str], places: list[int]
) -> None:
    # Read character by character: the first prefix that ends in a stop string; of two that end there, the longer.
    expected = text
    for end in range(len(text) + 1):
        if ending := [stop for stop in stops if text[:end].endswith(stop)]:
            expected = text[: end - max(map(len, ending))]
            break
    shown, found = fed(stops, cut(text, places))
    assert "".join(shown) == expected
    assert found == any(stop in text for stop in stops)


@given(TEXTS, STOPS)
@settings(deadline=None, max_examples=200)
def test_only_what_may_become_a_stop_string_is_held_back(text: str, stops: list[str]) -> None:
    watcher, shown = StopStrings(stops), ""
    for end, character in enumerate(text, start=1):
        shown += watcher.feed(character)
        if watcher.found:
            return
        held = text[len(shown) : end]
        assert shown + held == text[:end]
        assert not held or any(stop.startswith(held) and stop != held for stop in stops)


def test_nothing_comes_out_after_a_stop_string() -> None:
    watcher = StopStrings(["END"])
    assert watcher.feed("one END two") == "one "
    assert watcher.found
    assert watcher.feed("three") == ""
    assert watcher.flush() == ""


def test_a_stop_string_that_only_began_comes_out_at_the_end() -> None:
    watcher = StopStrings(["\n\n"])
    assert watcher.feed("a\n") == "a"
    assert watcher.feed("b\n") == "\nb"
    assert watcher.flush() == "\n"
    assert watcher.flush() == ""
    assert not watcher.found


def test_the_order_of_the_stop_strings_does_not_matter() -> None:
    for stops in (["abc", "bc", "d"], ["d", "bc", "abc"]):
        assert fed(stops, ["xa", "bcd"]) == (["x", "", ""], True)


def test_a_shorter_stop_string_inside_a_longer_one_ends_the_text_when_it_is_complete() -> None:
    for pieces in (["xabc"], ["xab", "c"], ["x", "a", "b", "c"]):
        assert "".join(fed(["abc", "b"], pieces)[0]) == "xa"


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(ConfigError, match="a stop string is empty"):
        StopStrings(["a", ""])
