"""The commands, programs and tables of docs/training.md are true: they run as they stand there, for fewer steps."""

from __future__ import annotations

import inspect
import json
import re
import shlex
import signal
from dataclasses import fields
from pathlib import Path

import pytest

import nextword
from nextword import GPTConfig, GPTModel, Tokenizer
from nextword.cli import _app, run
from nextword.cli.usage import Typed
from nextword.config import TRAINING_PRESETS
from nextword.language_model import LanguageModel
from nextword.settings import TrainingSettings
from nextword.training import Event, Stepped
from nextword.training.planning.plan import Plan
from nextword.training.planning.presets import recipe
from tests.training.sample_text import TEXT, write_text

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "training.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^nextword .*$", PAGE, flags=re.MULTILINE)
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
CONVERSATIONS = re.findall(r"```json\n(.*?)```", PAGE, flags=re.DOTALL)
SHORT = {"steps": 3, "context_length": 16, "batch_size": 2}
TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}<|endoftext|>{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every text and model that the page names."""
    folder = tmp_path_factory.mktemp("page")
    for name in ("my.txt", "novel.txt", "letters.txt", "texts/a.md", "texts/drafts/b.md"):
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        write_text(folder, name=name)
    (folder / "old.txt").write_bytes(TEXT.encode("cp949"))
    rows = "".join(f'{number},"{TEXT[:200]}"\n' for number in range(20))
    (folder / "posts.csv").write_text(f"number,body\n{rows}", encoding="utf-8")
    (folder / "chat.jsonl").write_text(CONVERSATIONS[0], encoding="utf-8")
    tokenizer = Tokenizer.train_bpe([TEXT], 300)
    config = GPTConfig.qwen3(tokenizer.vocab_size, 64, d_model=16, num_heads=2, num_layers=1)
    LanguageModel.from_model(GPTModel.from_config(config), tokenizer, chat_template=TEMPLATE).save(folder / "smollm2")
    return folder


def shortened(line: str) -> list[str]:
    """A command's words; training takes a few steps."""
    words = shlex.split(re.sub(r"--minutes \d+", "", line), comments=True)[1:]
    if words[0] == "train" and "--resume" not in words:
        words += [f"--{name.replace('_', '-')}={value}" for name, value in SHORT.items()]
    return words


def stop_a_run(out: str) -> None:
    """Leaves what Ctrl-C after the first step leaves."""

    def stop(event: Event) -> None:
        if isinstance(event, Stepped):
            signal.raise_signal(signal.SIGINT)

    assert nextword.train("my.txt", out, watch=stop, **SHORT).stopped  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def after_the_commands(place: Path) -> Path:
    """The folder when every command of the page has been run in it, in their order."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        for line in COMMANDS:
            words = shortened(line)
            if "--resume" in words:
                stop_a_run("my-model")
            assert run(words) == 0, line
    return place


def test_every_command_runs_and_leaves_what_the_page_says(after_the_commands: Path) -> None:
    assert len(COMMANDS) == 20
    here = after_the_commands
    for name in (
        "my-model",
        "two-files",
        "a-folder",
        "no-drafts",
        "a-pattern",
        "old-korean",
        "posts",
        "judged",
        "my-adapted",
    ):
        provenance = json.loads((here / name / "nextword.json").read_text(encoding="utf-8"))["provenance"]
        assert (provenance["steps"], provenance["stopped_early"]) == (3, False), name
    assert not list(here.glob("*.checkpoint"))
    assert {path.name for path in (here / "my-adapted.adapter").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    for name in ("metrics.jsonl", "loss.svg", "loss.png", "README.md", "nextword.json"):
        assert (here / "my-model" / name).stat().st_size > 0, name
    assert list((here / "watched.logs").iterdir())
    assert sorted(path.name for path in (here / "seen.steps").iterdir()) == [f"step-{step:08}" for step in range(4)]
    assert "<svg" in (here / "losses.svg").read_text(encoding="utf-8")
    assert (here / "my-model.gguf").read_bytes().startswith(b"GGUF")


@pytest.mark.filterwarnings("ignore::FutureWarning:transformers")  # peft 0.21 asks by an older name
@pytest.mark.parametrize("program", PROGRAMS, ids=["peft", "adapter", "watch"])
def test_every_program_runs(
    program: str, after_the_commands: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(after_the_commands)
    settings = ", ".join(f"{name}={value}" for name, value in SHORT.items())
    exec(program.replace("minutes=2", settings), {})  # noqa: S102  our own page
    assert capsys.readouterr().out


def test_the_error_about_encodings_is_the_one_that_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("old.txt").write_bytes(("Access2Base" + "가장 먼저 국민의 주권을 말한다. " * 20).encode("cp949"))
    assert run(["train", "old.txt", "--out", "none"]) == 2
    assert capsys.readouterr().err.splitlines() == re.findall(r"(?:error|hint): .*", PAGE)


def test_the_table_has_every_setting() -> None:
    table = "\n".join(line for line in PAGE.splitlines() if line.startswith("| `"))
    options = Typed.read(_app("train"), "train", ()).flags()
    assert [option for option in options.values() if f"| `{option}`" not in table] == []
    assert {field.name for field in fields(TrainingSettings)} <= set(options)
    for name in inspect.signature(nextword.train).parameters:
        option = f"`--{name.replace('_', '-')}`"
        assert name == "paths" or option in table or f"`{name}`" in table, name


@pytest.mark.parametrize("page", ["training.md", "training.ko.md"])
def test_the_table_has_the_defaults_of_settings_and_plan(page: str) -> None:
    flags = Typed.read(_app("train"), "train", ()).flags()
    defaults = {field.name: field.default for kind in (TrainingSettings, Plan) for field in fields(kind)}
    defaults["minutes"] = TrainingSettings().time_limit
    rows = re.findall(r"^\| `(--[\w-]+)`.*?\| (.*) \|$", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE)
    said = dict(rows)
    for name in set(flags) & set(defaults):
        if isinstance(defaults[name], int | float) and not isinstance(defaults[name], bool):
            assert re.search(rf"(?<![\d.]){defaults[name]:g}(?![\d.]*\d)", said[flags[name]]), name
    assert (said["--precision"], said["--strategy"]) == (f"`{Plan.precision}`", f"`{Plan.strategy}`")


@pytest.mark.parametrize("name", TRAINING_PRESETS)
def test_the_table_has_every_preset_as_it_is(name: str) -> None:
    fields, chosen = TRAINING_PRESETS[name], recipe(name, 10**9, 1.0)
    size = f"{GPTConfig.preset(name, 1, 1).num_parameters / 1e6:.2g} million"
    cells = [f"`{name}`", f"{fields['num_layers']} x {fields['d_model']}", size]
    cells += [f"{chosen[key]:g}" for key in ("context_length", "batch_size", "learning_rate")]
    assert f"| {' | '.join(cells)} |" in PAGE
