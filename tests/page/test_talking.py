"""The pane that talks with a model, and servers that ask for a key or have forgotten a trace."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, expect

import nextword
from nextword.generation.sampling import Sampling
from nextword.language_model import LanguageModel
from nextword.loading import DEFAULT_MODEL
from tests.page.conftest import TEXT, Visitor, drawn
from tests.page.reading import assert_reads, bars
from tests.page.test_changes import assert_predicts
from tests.page.test_numbers import norm
from tests.page.test_sampling import slide
from tests.page.test_writing import drawn_ids, ids_of, press, seeded
from tests.server.conftest import serving


def ask(page: Page, text: str, most: int) -> None:
    page.locator("#chat input[type=number]").fill(str(most))
    page.locator("#chat textarea").fill(text)
    page.locator("#chat").get_by_role("button", name="Send").click()


def answered(page: Page) -> None:
    expect(page.locator("#chat .chat-log")).to_have_attribute("aria-busy", "false", timeout=30_000)


def test_the_default_model_writes_on_what_it_is_given(visit: Visitor, lm: LanguageModel) -> None:
    page = visit(TEXT)
    assert page.locator("#chat h2").text_content() == "Completion"
    slide(page, Sampling(temperature=0.7, top_k=20))
    seeded(page, 5)
    ask(page, "나는 오늘", 12)
    answered(page)
    text = page.locator("#chat .written-text").text_content() or ""
    asked = {
        "model": "nextword",
        "prompt": "나는 오늘",
        "max_tokens": 12,
        "temperature": 0.7,
        "top_k": 20,
        "top_p": 1,
        "min_p": 0,
        "seed": 5,
    }
    told = visit.server.client.post("/v1/completions", json=asked).json()  # type: ignore[union-attr]
    assert text == "나는 오늘" + told["choices"][0]["text"]
    assert page.locator("#chat .warn").text_content() == "The answer ends at the largest number of tokens."
    # Without any chance it is what the library writes.
    slide(page, Sampling(temperature=0))
    ask(page, "One day, a", 8)
    answered(page)
    expected = lm.generate("One day, a", max_new_tokens=8, temperature=0)
    assert page.locator("#chat .written-text").text_content() == str(expected)


def test_a_model_with_a_chat_template_talks_and_remembers(visit: Visitor, chatty: Path) -> None:
    page = visit(TEXT, model="chatty")
    assert page.locator("#chat h2").text_content() == "Chat"
    slide(page, Sampling(temperature=0))
    lm = nextword.load(str(chatty))
    messages = []
    for said in ("안녕하세요?", "Who are you?"):
        ask(page, said, 10)
        answered(page)
        messages.append({"role": "user", "content": said})
        asked = {"model": "chatty", "messages": messages, "max_tokens": 10, "temperature": 0}
        told = visit.server.client.post("/v1/chat/completions", json=asked).json()  # type: ignore[union-attr]
        messages.append({"role": "assistant", "content": told["choices"][0]["message"]["content"]})
    found = page.locator("#chat .said").evaluate_all("(all) => all.map((one) => one.lastChild.data)")
    assert [text or "" for text in found] == [message["content"] for message in messages]
    assert lm.chat_template
    assert page.locator("#chat textarea").input_value() == ""
    page.locator("#chat").get_by_role("button", name="New").click()
    assert page.locator("#chat .said").count() == 0


STOP_AT_ONCE = """(chat) => new Promise((resolve) => {
  const send = chat.querySelector("[type=submit]");
  new MutationObserver((_, observer) => {
    const written = chat.querySelector("mark")?.textContent ?? "";
    if (written !== "") {
      observer.disconnect();
      const state = [send.disabled, written];
      Array.from(chat.querySelectorAll("button")).find((one) => one.textContent === "Stop").click();
      resolve(state);
    }
  }).observe(chat, {childList: true, subtree: true});
  send.click();
})"""
"""Presses Stop when the first token is there: faster than from outside, since the whole answer takes moments."""


def test_the_answer_can_be_stopped(visit: Visitor) -> None:
    page = visit(TEXT)
    slide(page, Sampling(temperature=0))
    page.locator("#chat input[type=number]").fill("200")
    page.locator("#chat textarea").fill("One day")
    was_busy, first = page.locator("#chat form").evaluate(STOP_AT_ONCE)
    assert was_busy
    answered(page)
    expect(page.locator("#chat").get_by_role("button", name="Stop")).to_be_hidden()
    asked = {"model": "nextword", "prompt": "One day", "max_tokens": 200, "temperature": 0}
    whole = visit.server.client.post("/v1/completions", json=asked).json()["choices"][0]["text"]  # type: ignore[union-attr]
    text = page.locator("#chat mark").text_content() or ""
    assert first == text
    assert whole.startswith(text)
    assert 0 < len(text) < len(whole) / 2
    ask(page, "One day", 3)  # and it can be asked again
    answered(page)
    assert whole.startswith(page.locator("#chat mark").text_content() or "-")


STOPPED_BEHIND_THE_FIRST = """async (body) => {
  const {ServerSource} = await import("nextword/server_source.js");
  const controller = new AbortController();
  const events = [];
  const onData = (data) => {
    events.push(data);
    controller.abort();
  };
  const error = await new ServerSource(async () => null)
    .stream("/v1/completions", body, onData, controller.signal)
    .then(() => null, (error) => error.name);
  return [events.length, error];
}"""


def test_what_arrived_together_with_the_last_token_is_not_written_after_a_stop(visit: Visitor) -> None:
    page = visit(TEXT)
    # The server's own answer, all of it in one piece, as a slow browser finds it.
    page.route("**/v1/completions", lambda route: route.fulfill(response=route.fetch()))
    body = {"model": "nextword", "prompt": "One day", "max_tokens": 20, "temperature": 0, "stream": True}
    assert page.evaluate(STOPPED_BEHIND_THE_FIRST, body) == [1, "AbortError"]


def test_writing_ten_words_can_be_stopped(visit: Visitor) -> None:
    page = visit(TEXT)
    page.locator("#walk").get_by_role("button", name="×10").click()
    page.locator("#tokens .chip.written").first.wait_for()
    page.locator("#walk").get_by_role("button", name="Stop").click()
    expect(page.locator("#walk").get_by_role("button", name="Stop")).to_be_hidden()
    drawn(page)
    assert 1 <= page.locator("#tokens .chip.written").count() < 10


def test_a_key_is_asked_for_once_and_then_works(anywhere: Visitor, lm: LanguageModel, tmp_path: Path) -> None:
    anywhere.allowed.append("401")
    with serving(
        tmp_path / "log",
        f"nextword={DEFAULT_MODEL}",
        NEXTWORD_API_KEY="key-sesame",
    ) as server:
        anywhere.server = server
        page = anywhere(TEXT, wait=False)
        page.locator("dialog input").wait_for()
        assert page.locator("dialog").count() == 1
        page.locator("dialog input").fill("key-sesame")
        page.keyboard.press("Enter")
        page.locator("#lens .lens-cell").first.wait_for()
        drawn(page)
        assert page.locator("dialog").count() == 0
        assert_predicts(page, lm, TEXT)
        page.fill("#text", "나는 오늘")
        assert_predicts(drawn(page), lm, "나는 오늘")
        assert page.locator("#chat h2").text_content() == "Completion", "what was refused at first was asked for again"
        page.reload()
        drawn(page)
        assert page.locator("dialog").count() == 0, "the key is kept for the session"
        assert "key-sesame" not in page.url


def test_a_forgotten_trace_is_made_again(visit: Visitor, lm: LanguageModel) -> None:
    visit.allowed.append(r"404 .*/look/\w+/(block|turns|draw)")
    page = visit(TEXT)

    def forget() -> None:
        assert visit.server is not None
        for number in range(17):  # it keeps sixteen
            visit.server.client.post("/look", json={"text": f"{number} others"}).raise_for_status()

    forget()
    page.locator("#blocks .strip button").nth(5).click()
    drawn(page)
    trace = lm.trace(TEXT)
    assert page.locator("#blocks .thumbs").get_attribute("aria-label") == "Heads of layer 5"
    heads = bars(page.locator("#blocks .columns > div").nth(1))
    assert_reads([bar.value for bar in heads], norm(trace["result", 5])[-1])
    forget()
    seeded(page)
    press(page, "Next")
    assert ids_of(page) == drawn_ids(lm, TEXT, 1, Sampling())
