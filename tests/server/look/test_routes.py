"""The page's routes: every number is the trace's, what is kept is bounded, what is wrong is refused."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import string
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import nextword
from nextword.files import read_model
from nextword.generation.sampling import Sampling, Stages
from nextword.inspection.edits import Edits, ablate_head, ablate_layer, ablate_mlp, scale, set_value, swap_embedding
from nextword.inspection.frames import block_frame, turns_frame
from nextword.inspection.page_file import page_files
from nextword.language_model import LanguageModel
from nextword.loading import DEFAULT_MODEL
from nextword.measuring.verification_file import read_verification
from nextword.server.errors import ApiError
from nextword.server.look.schemas import LookRequest
from nextword.server.look.traces import TraceStore
from nextword.server.workers import CancelToken, Worker
from tests.inspection.models import language_model
from tests.inspection.test_frames import read
from tests.server.api.test_requests import refusal
from tests.server.conftest import Served, serving

TEXT, OTHER = "To be, or not to", "뷁 나는 오늘"
SHIPPED = read_model(DEFAULT_MODEL).config
LAYERS = SHIPPED.num_layers


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return nextword.load()


@pytest.fixture(scope="module")
def lesson(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    from nextword import GPTModel, Tokenizer

    tokenizer = Tokenizer.characters(string.ascii_letters + " ,.")
    model = GPTModel(tokenizer.vocab_size, 16, 4, 3, 0.0, 12)
    return LanguageModel.from_model(model, tokenizer)


@pytest.fixture(scope="module")
def page(lesson: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of the default model and a lesson's."""
    folder = tmp_path_factory.mktemp("page")
    path = lesson.save(folder / "lesson")
    with serving(folder / "log", f"nextword={DEFAULT_MODEL}", f"lesson={path}") as served:
        yield served


def looked(page: Served, **asked: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    answer = page.client.post("/look", json=asked)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/octet-stream"
    return read(answer.content)


def top(logits: Any, count: int = 5) -> list[int]:
    return np.argsort(-logits, kind="stable")[:count].tolist()


# -- numbers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [TEXT, OTHER])
def test_the_quick_prediction_is_the_engines(page: Served, lm: LanguageModel, text: str) -> None:
    answer = page.client.post("/look/predict", json={"text": text, "top": 7}).json()
    wanted = lm.predict(text, 7)
    assert answer["model"] == {"name": "nextword", "backend": lm.backend.name}
    assert answer["dropped"] == 0
    assert answer["candidates"] == [
        {"id": c.token_id, "text": c.text, "probability": c.probability, "logit": c.logit} for c in wanted
    ]
    ids = [token["id"] for token in answer["tokens"]]
    assert ids == wanted.prompt_token_ids
    assert page.client.post("/look/predict", json={"ids": ids, "top": 7}).json() == answer


@pytest.mark.parametrize("text", [TEXT, OTHER])
def test_a_look_holds_the_traces_numbers(page: Served, lm: LanguageModel, text: str) -> None:
    about, arrays = looked(page, text=text)
    trace = lm.trace(text)
    lens = trace.lens()
    np.testing.assert_allclose(arrays["logits"], trace["logits"][-1], atol=2e-5)
    np.testing.assert_array_equal(arrays["embed"], trace["embed"])
    np.testing.assert_array_equal(arrays["combined"], trace.residual(0))
    norms = [np.linalg.norm(trace.residual(row).astype(np.float64), axis=-1) for row in range(LAYERS + 1)]
    np.testing.assert_allclose(arrays["residual_norm"], norms, rtol=1e-5)
    np.testing.assert_array_equal(arrays["lens_ids"], lens.token_ids)
    np.testing.assert_array_equal(arrays["lens_rank"], lens.target_rank)
    for name, values in {"probability": lens.probabilities, "kl": lens.kl, "entropy": lens.entropy}.items():
        np.testing.assert_allclose(arrays[f"lens_{name}"], values, atol=2e-5)
    assert [token["id"] for token in about["tokens"]] == list(trace.token_ids)
    assert (about["text"], about["edits"], about["model"]["name"]) == (text, [], "nextword")
    assert about["model"]["bytes"] == lm.nbytes
    assert looked(page, ids=list(trace.token_ids))[1].keys() == arrays.keys()


def test_layers_and_turns_of_a_trace(page: Served, lm: LanguageModel) -> None:
    about, _ = looked(page, text=TEXT)
    trace = lm.trace(TEXT)
    for layer in (0, 5):
        answer = page.client.get(f"/look/{about['trace']}/block/{layer}")
        assert answer.headers["content-type"] == "application/octet-stream"
        (said, found), (wanted_about, wanted) = read(answer.content), read(block_frame(trace, layer))
        assert (said, found.keys()) == (wanted_about, wanted.keys())
        for name, values in wanted.items():
            np.testing.assert_allclose(found[name], values, atol=2e-5, err_msg=name)
        (said, found), (wanted_about, wanted) = (
            read(page.client.get(f"/look/{about['trace']}/turns/{layer}/3").content),
            read(turns_frame(trace, layer, 3)),
        )
        assert (said, found.keys()) == (wanted_about, wanted.keys())
        for name, values in wanted.items():
            np.testing.assert_allclose(found[name], values, atol=2e-5, err_msg=name)


def test_a_lessons_model_is_looked_at_too(page: Served, lesson: LanguageModel) -> None:
    about, arrays = looked(page, model="lesson", text="to be, or")
    trace = lesson.trace("to be, or")
    assert (about["model"]["residual"], about["model"]["position"]) == ("normalized", "learned")
    np.testing.assert_array_equal(arrays["position"], trace["pos_embed"])
    np.testing.assert_allclose(arrays["logits"], trace["logits"][-1], atol=1e-5)
    said, block = read(page.client.get(f"/look/{about['trace']}/block/1").content)
    assert "no residual stream" in said["why_no_contributions"]
    assert "head_contribution" not in block
    np.testing.assert_allclose(block["pattern"], trace.attention(1), atol=1e-6)
    error = refusal(page.client.get(f"/look/{about['trace']}/turns/0/0"))
    assert "position vectors" in error["message"]


@pytest.mark.parametrize(
    ("spec", "edit", "python"),
    [
        ({"kind": "head", "layer": 2, "head": 1}, ablate_head(2, 1), "nextword.ablate_head(2, 1)"),
        ({"kind": "head", "layer": 2, "head": 1, "factor": 0}, ablate_head(2, 1), "nextword.ablate_head(2, 1)"),
        (
            {"kind": "head", "layer": 0, "head": 3, "factor": -1.5},
            scale(("z", 0), -1.5, heads=[3]),
            'nextword.scale("blocks.0.attn.hook_z", -1.5, heads=[3])',
        ),
        ({"kind": "mlp", "layer": 4}, ablate_mlp(4), "nextword.ablate_mlp(4)"),
        ({"kind": "layer", "layer": 5}, ablate_layer(5), "nextword.ablate_layer(5)"),
        ({"kind": "token", "position": 5, "id": 99}, swap_embedding(5, 99), "nextword.swap_embedding(5, 99)"),
    ],
    ids=str,
)
def test_a_change_is_lm_edit(page: Served, lm: LanguageModel, spec: dict[str, Any], edit: Edits, python: str) -> None:
    about, arrays = looked(page, text=TEXT, edits=[spec])
    wanted, plain = lm.edit(edit).trace(TEXT), lm.trace(TEXT)
    np.testing.assert_allclose(arrays["logits"], wanted["logits"][-1], atol=2e-5)
    assert top(arrays["logits"]) == top(wanted["logits"][-1])
    assert np.abs(arrays["logits"] - plain["logits"][-1]).max() > 1e-3
    assert about["edits"] == [python]
    found = read(page.client.get(f"/look/{about['trace']}/block/5").content)[1]
    np.testing.assert_allclose(found["head_contribution"], wanted.attribution().heads[5], atol=5e-5)


def test_changes_add_up(page: Served, lm: LanguageModel) -> None:
    specs = [{"kind": "head", "layer": 2, "head": 1}, {"kind": "mlp", "layer": 4}]
    about, arrays = looked(page, text=TEXT, edits=specs)
    wanted = lm.edit(ablate_head(2, 1), ablate_mlp(4)).trace(TEXT)
    np.testing.assert_allclose(arrays["logits"], wanted["logits"][-1], atol=2e-5)
    assert about["edits"] == ["nextword.ablate_head(2, 1)", "nextword.ablate_mlp(4)"]


@pytest.mark.parametrize("row", [0, 3, LAYERS])
def test_a_patch_takes_another_position_of_another_text(page: Served, lm: LanguageModel, row: int) -> None:
    other = lm.trace(OTHER)
    ids, place, position = list(other.token_ids), 2, 4
    spec = {"kind": "patch", "row": row, "position": position, "from_ids": ids, "from_position": place}
    about, arrays = looked(page, text=TEXT, edits=[spec])
    [line] = about["edits"]
    made = eval(line, {"nextword": nextword, "lm": lm})  # noqa: S307  it is Python
    key = ("resid_pre", row) if row < LAYERS else ("resid_post", LAYERS - 1)
    assert made == set_value(key, other.residual(row)[place], positions=[position])
    edited = lm.edit(made).trace(TEXT)
    np.testing.assert_allclose(arrays["logits"], edited["logits"][-1], atol=2e-5)
    np.testing.assert_allclose(
        arrays["residual_norm"][row, position], np.linalg.norm(other.residual(row)[place]), rtol=1e-5
    )
    if row == LAYERS:  # behind the last block only this position's own prediction changes
        plain = looked(page, text=TEXT)[1]
        np.testing.assert_allclose(arrays["logits"], plain["logits"], atol=1e-6)
        lens = other.lens()
        np.testing.assert_array_equal(arrays["lens_ids"][LAYERS, position], lens.token_ids[LAYERS, place])
    found = read(page.client.get(f"/look/{about['trace']}/block/1").content)[1]
    np.testing.assert_allclose(found["head_contribution"], edited.attribution().heads[1], atol=5e-5)


@pytest.mark.parametrize(
    "sampling",
    [
        {"temperature": 0.8, "top_k": None, "top_p": 0.95, "min_p": 0.0},
        {"temperature": 1.5, "top_k": 5, "top_p": 1.0, "min_p": 0.1},
        {"temperature": 0.0, "top_k": None, "top_p": 1.0, "min_p": 0.0},
    ],
)
def test_a_draw_is_the_samplings(page: Served, lm: LanguageModel, sampling: dict[str, Any]) -> None:
    about, arrays = looked(page, text=TEXT)
    ids = [token["id"] for token in about["tokens"]]
    chosen = Sampling(**sampling)
    shares = Stages.of(arrays["logits"], chosen).distribution
    drawn = []
    for seed in range(8):
        answer = page.client.post(f"/look/{about['trace']}/draw", json={**sampling, "seed": seed}).json()
        token = chosen.draw(arrays["logits"], ids, np.random.default_rng([seed, len(ids)]))
        assert (answer["id"], answer["text"]) == (token, lm.tokenizer.vocabulary[token])
        assert answer["end"] == (token in lm.tokenizer.end_ids)
        assert answer["probability"] == pytest.approx(shares[token], abs=1e-12)
        drawn.append(token)
    assert (len(set(drawn)) == 1) == (sampling["temperature"] == 0)


def test_a_long_text_is_seen_in_its_newest_part(page: Served, lm: LanguageModel) -> None:
    text = "To be, or not to be. " * 60
    about, _ = looked(page, text=text)
    quick = page.client.post("/look/predict", json={"text": text}).json()
    assert about["dropped"] == quick["dropped"] == lm.predict(text).dropped_tokens > 0
    assert about["tokens"] == quick["tokens"]


def test_about_says_what_was_measured(page: Served, lm: LanguageModel) -> None:
    about = page.client.get("/look/about").json()
    measured = read_verification(DEFAULT_MODEL)
    assert measured is not None
    wanted = max(row.logits_max for row in measured.comparisons if row.precision == "native")
    assert about.pop("memory") > 5e7
    if lm.backend.name == "native":
        assert about["reference_error"] == {"value": wanted, "against": "transformers"}
        vectors = sum(shape[0] for shape in lm.config.parameter_shapes().values() if len(shape) == 1)
        held = 2 * lm.config.num_parameters + 2 * vectors  # vectors are computed with as float32
        assert (about["dtype"], about["bytes"]) == ("float16", held)
    assert (about["name"], about["file"], about["chat"]) == ("nextword", "default_model", False)
    assert (about["backend"], about["reason"]) == (lm.backend.name, lm.backend.reason)
    assert about["parameters"] == lm.config.num_parameters
    lesson = page.client.get("/look/about", params={"model": "lesson"}).json()
    assert (lesson["name"], lesson["reference_error"], lesson["dtype"]) == ("lesson", None, "float32")
    assert Path(lesson["file"]).name == "lesson"  # what nextword.load takes
    assert refusal(page.client.get("/look/about?model=nobody"), 404)["code"] == "model_not_found"
    assert page.client.get("/look/run").json() is None


# -- bounds and refusals -----------------------------------------------------------------------------------------------


def test_the_least_recently_used_trace_goes_first_and_can_be_made_again(page: Served) -> None:
    first, second = (looked(page, text=text)[0]["trace"] for text in ("first", "second"))
    for number in range(14):
        looked(page, text=f"number {number}")
    assert page.client.get(f"/look/{first}/block/0").status_code == 200  # used just now
    looked(page, text="one more")
    refused = refusal(page.client.get(f"/look/{second}/block/0"), 404)
    assert (refused["code"], refused["hint"]) == ("trace_not_found", "POST /look again")
    assert refusal(page.client.post(f"/look/{second}/draw", json={}), 404)["param"] == "trace"
    assert page.client.get(f"/look/{first}/block/0").status_code == 200
    assert looked(page, text="second")[0]["trace"] == second
    assert page.client.get(f"/look/{second}/block/0").status_code == 200


def test_traces_are_let_go_when_they_are_too_large_together(lm: LanguageModel) -> None:
    one = len(TraceStore(4, 1 << 30).look("m", lm, "", LookRequest(text=TEXT), CancelToken())) + lm.trace(TEXT).nbytes
    traces = TraceStore(100, 4 * one)
    names = [
        read(traces.look("m", lm, "", LookRequest(text=f"{TEXT} {letter}"), CancelToken()))[0]["trace"]
        for letter in string.ascii_lowercase
    ]
    kept = [name for name in names if name in traces._traces]
    assert kept == names[-len(kept) :]
    assert 2 <= len(kept) <= 8
    traces.close()


def test_traces_of_the_four_models_that_were_looked_into_last_are_kept() -> None:
    traces, asked = TraceStore(100, 1 << 30), LookRequest(text="abcd")
    models = {f"m{number}": language_model("llama") for number in range(5)}

    def look(name: str) -> str:
        return str(read(traces.look(name, models[name], "", asked, CancelToken()))[0]["trace"])

    names = [look(f"m{number}") for number in range(4)]
    assert list(traces._traces) == names
    assert len({id(kept.trace.backend) for kept in traces._traces.values()}) == 4
    fifth = look("m4")
    assert list(traces._traces) == [*names[1:], fifth]
    with pytest.raises(ApiError, match="no such trace"):
        traces.get(names[0])
    traces.close()


def test_one_thread_works_and_what_would_wait_too_long_is_refused() -> None:
    done, go = [], threading.Event()

    async def asked() -> None:
        worker = Worker("test", max_waiting=3)
        first = asyncio.ensure_future(worker.run(lambda _: go.wait(60)))
        second, third = (asyncio.ensure_future(worker.run(lambda _, n=n: done.append(n))) for n in (2, 3))
        await asyncio.sleep(0.05)
        with pytest.raises(ApiError) as refused:
            await worker.run(lambda _: done.append(4))
        assert (refused.value.status, refused.value.headers) == (429, {"Retry-After": "1"})
        second.cancel()  # its client is gone: it never begins
        await asyncio.sleep(0)
        go.set()
        await asyncio.gather(first, third)
        assert done == [3]
        go.clear()
        first, second = (asyncio.ensure_future(worker.run(lambda _: go.wait(60))) for _ in range(2))
        await asyncio.sleep(0.05)
        worker.close()
        go.set()
        assert await first is True  # it had begun
        for late in (second, worker.run(lambda _: None)):
            with pytest.raises(ApiError) as refused:
                await late
            assert refused.value.status == 503

    asyncio.run(asked())


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"kind": "nothing"},
        {"kind": "head", "layer": 0},
        {"kind": "head", "layer": 99, "head": 0},
        {"kind": "head", "layer": 0, "head": 99},
        {"kind": "head", "layer": -1, "head": 0},
        {"kind": "head", "layer": "0", "head": 0},
        {"kind": "head", "layer": True, "head": 0},
        {"kind": "head", "layer": 0, "head": 0, "factor": 1e300},
        {"kind": "head", "layer": 0, "head": 0, "more": 1},
        {"kind": "mlp", "layer": LAYERS},
        {"kind": "mlp", "layer": 2**40},
        {"kind": "layer"},
        {"kind": "token", "position": 6, "id": 0},
        {"kind": "token", "position": 0, "id": SHIPPED.vocab_size},
        {"kind": "patch", "row": LAYERS + 1, "position": 0, "from_ids": [1], "from_position": 0},
        {"kind": "patch", "row": 0, "position": 6, "from_ids": [1], "from_position": 0},
        {"kind": "patch", "row": 0, "position": 0, "from_ids": [1], "from_position": 1},
        {"kind": "patch", "row": 0, "position": 0, "from_ids": [], "from_position": 0},
        {"kind": "patch", "row": 0, "position": 0, "from_ids": [99_999], "from_position": 0},
        {"kind": "patch", "row": 0, "position": 0, "from_ids": [1] * 257, "from_position": 0},
    ],
    ids=str,
)
def test_a_change_that_does_not_fit_is_a_400(page: Served, spec: dict[str, Any]) -> None:
    error = refusal(page.client.post("/look", json={"text": TEXT, "edits": [spec]}))
    assert "\n" not in error["message"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/look", {}, 400),
        ("/look", {"text": "a", "ids": [1]}, 400),
        ("/look", {"text": ""}, 400),
        ("/look", {"ids": []}, 400),
        ("/look", {"ids": [SHIPPED.vocab_size]}, 400),
        ("/look", {"ids": ["1"]}, 400),
        ("/look", {"text": 5}, 400),
        ("/look", {"text": "a", "edits": [{"kind": "mlp", "layer": 0}] * 65}, 400),
        ("/look", {"text": "a", "model": "nobody"}, 404),
        ("/look/predict", {"text": "a", "top": 0}, 400),
        ("/look/predict", {"text": ""}, 400),
        ("/look/predict", {"text": "a", "model": "nobody"}, 404),
        ("/look/nothing/draw", {}, 404),
        ("/look/nothing/draw", {"temperature": -1}, 400),
        ("/look/nothing/draw", {"top_p": 0}, 400),
        ("/look/nothing/draw", {"top_k": 0}, 400),
        ("/look/nothing/draw", {"seed": -1}, 400),
    ],
)
def test_what_is_wrong_is_refused(page: Served, path: str, body: dict[str, Any], status: int) -> None:
    refusal(page.client.post(path, json=body), status)


def frames(content: bytes) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Frames that stand one behind the other; each ends where its last array does."""
    found = []
    while content:
        start = 8 + int.from_bytes(content[:8], "little")
        entries = json.loads(content[8:start])
        end = start + max(entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__")
        found.append(read(content[:end]))
        content = content[end:]
    return found


def same(one: tuple[dict[str, Any], dict[str, Any]], other: tuple[dict[str, Any], dict[str, Any]]) -> bool:
    return one[0] == other[0] and all(np.array_equal(one[1][name], other[1][name]) for name in {*one[1], *other[1]})


def test_parts_come_behind_the_trace_in_the_order_they_were_asked_for(page: Served) -> None:
    edits = [{"kind": "head", "layer": 1, "head": 2}]
    alone = read(page.client.post("/look", json={"text": TEXT, "edits": edits}).content)
    path = f"/look/{alone[0]['trace']}"
    turns, block = (read(page.client.get(f"{path}/{part}").content) for part in ("turns/2/1", "block/4"))
    parts = [{"kind": "turns", "layer": 2, "head": 1}, {"kind": "block", "layer": 4}]
    got = frames(page.client.post("/look", json={"text": TEXT, "edits": edits, "parts": parts}).content)
    assert [same(one, other) for one, other in zip(got, (alone, turns, block), strict=True)] == [True] * 3
    fresh, of_it = frames(page.client.post("/look", json={"text": TEXT + "?", "parts": parts[1:]}).content)
    assert same(of_it, read(page.client.get(f"/look/{fresh[0]['trace']}/block/4").content))
    for wrong in ({"kind": "block", "layer": LAYERS}, {"kind": "turns", "layer": 0}, {"kind": "heads"}, {"layer": 1}):
        refusal(page.client.post("/look", json={"text": TEXT, "parts": [wrong]}))


def test_there_are_no_other_layers_and_heads(page: Served) -> None:
    trace = looked(page, text=TEXT)[0]["trace"]
    for path in (f"block/{LAYERS}", "block/-1", "block/x", f"turns/{LAYERS}/0", "turns/0/4", "turns/-1/0"):
        refusal(page.client.get(f"/look/{trace}/{path}"))
    refusal(page.client.get("/look/nothing/block/0"), 404)
    refusal(page.client.get("/look/nothing/turns/0/0"), 404)


# -- the page's files --------------------------------------------------------------------------------------------------


def folder_of(page: Served) -> str:
    """Where the page's files are; its name changes with them."""
    [folder] = re.findall(r'"nextword/": "(/page/[0-9a-f]{16}/)"', page.client.get("/").text)
    return str(folder)


def policy_of(answer: httpx.Response) -> dict[str, list[str]]:
    rules = answer.headers["content-security-policy"].split("; ")
    return {rule.split()[0]: rule.split()[1:] for rule in rules}


def test_the_page_is_served_and_may_do_little(page: Served) -> None:
    answer = page.client.get("/")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    [maps] = re.findall(r'<script type="importmap">(.*?)</script>', answer.text)
    assert answer.text.index(maps) < answer.text.index("modulepreload")  # a module before the map would end it
    digest = base64.b64encode(hashlib.sha256(maps.encode()).digest()).decode()
    assert policy_of(answer) == {
        "default-src": ["'none'"],
        "script-src": ["'self'", f"'sha256-{digest}'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:", "blob:"],
        "connect-src": ["'self'"],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
        "frame-ancestors": ["'none'"],
    }
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


def test_every_file_of_the_page_is_served(page: Served) -> None:
    kinds = {"js": "text/javascript", "css": "text/css"}
    folder = folder_of(page)
    for name, item in page_files().items():
        if name == "index.html":
            continue
        answer = page.client.get(f"{folder}{name}")
        assert answer.content == item.read_bytes()
        assert answer.headers["content-type"] == f"{kinds[name.rpartition('.')[2]]}; charset=utf-8"
        assert policy_of(answer)["default-src"] == ["'none'"]
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        again = page.client.get(f"{folder}{name}", headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        head = page.client.head(f"{folder}{name}")
        assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", answer.headers["etag"])
        assert head.headers["content-length"] == str(len(answer.content))


def test_the_page_names_every_module_and_is_asked_for_anew(page: Served) -> None:
    folder, answer = folder_of(page), page.client.get("/")
    assert answer.headers["cache-control"] == "no-cache"
    assert page.client.get("/", headers={"if-none-match": answer.headers["etag"]}).status_code == 304
    named = re.findall(r'<link rel="modulepreload" href="(.*?)">', answer.text)
    modules = {name for name in page_files() if name.endswith(".js")} - {"types.js"}
    assert sorted(named) == sorted(folder + name for name in modules)
    assert "replaced:" not in answer.text.partition("<head>")[2]
    refused = page.client.post("/", json={})
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")


def test_the_page_waits_for_nothing_of_the_api() -> None:
    code = "import sys, nextword.server.process.serve; print(*({'fastapi', 'pydantic', 'torch'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    "name",
    ["", "nothing.js", "../__init__.py", "..%2f__init__.py", "%2e%2e/__init__.py", "/etc/passwd", "..\\x", "charts"],
)
def test_nothing_else_is_served(page: Served, name: str) -> None:
    for folder in ("/page/", folder_of(page)):
        refusal(page.client.get(f"{folder}{name}"), 404)


def test_the_page_needs_no_key_and_its_numbers_do(tmp_path: Path) -> None:
    with serving(tmp_path / "log", DEFAULT_MODEL, NEXTWORD_API_KEY="key") as server:
        for path in ("/", f"{folder_of(server)}dom.js", "/health"):
            assert server.client.get(path).status_code == 200, path
        for path in ("/look/about", "/look/run", "/look/x/block/0", "/look/x/turns/0/0", "/page/../look/about"):
            assert server.client.get(path).status_code == 401, path
        assert server.client.get("/page/%2e%2e/look/about").status_code in (401, 404)
        for path in ("/look", "/look/predict", "/look/x/draw"):
            refusal(server.client.post(path, json={"text": "a"}), 401)
        answer = server.client.post("/look/predict", json={"text": "a"}, headers={"authorization": "Bearer key"})
        assert answer.status_code == 200
