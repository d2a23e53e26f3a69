"""What is typed wrongly is said in plain words, with the nearest option; settings of Python become flags."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
from cyclopts import Argument

import nextword.cli
from nextword.cli import COMMANDS, _app
from nextword.cli.usage import Typed, format_error, python_names_to_flags
from nextword.errors import ConfigError, ContextOverflowError, NextwordError
from tests.cli.conftest import Call

NEEDED = {"train": ["--out", "x"], "export": ["--out", "x"], "convert": ["model", "out"]}
TEXTS = ("predict", "generate", "look", "tokenize", "figure")
ARGUMENTS = {name: [*(["하나"] if name in TEXTS else []), *NEEDED.get(name, [])] for name in COMMANDS}
INNER = ("Unused", "Tokens", "Parameter", "Command", "positional", "keyword", "unable", "<", "{")


def options_of(command: str) -> list[Argument]:
    """Each option of a command."""
    takes = Typed.read(_app(command), command, ()).takes
    return [argument for argument in takes if argument.index is None and argument.name.startswith("--")]


def of_a_type(wanted: type) -> list[tuple[str, str]]:
    """Commands with the options of this type, or of it and None."""
    return [
        (command, option.name)
        for command in COMMANDS
        for option in options_of(command)
        if wanted in (option.hint, *get_args(option.hint))
    ]


def says(call: Call, *words: str) -> list[str]:
    """The lines of an error, none of which speaks of how the command line is read."""
    result = call(*words)
    assert (result.code, result.out) == (2, ""), words
    error, *hint = result.err.splitlines()
    assert error.startswith("error: ")
    assert not any(word in error for word in INNER), error
    assert [line[:6] for line in hint] == ["hint: "]
    return [error.removeprefix("error: "), hint[0].removeprefix("hint: ")]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_misspelt_option_gets_the_nearest_one(call: Call, command: str) -> None:
    names = [option.name for option in options_of(command)]
    for name in names:
        misspelt = name[:3] + name[4:] if len(name) > 5 else f"{name}x"
        if misspelt in names:
            continue
        for words in ([misspelt], [f"{misspelt}=3"], [misspelt, "3"]):
            error, hint = says(call, command, *words, *ARGUMENTS[command])
            assert error == f"unknown option {misspelt}"
            assert re.fullmatch(r"did you mean --[\w-]+\?", hint)
            assert hint == f"did you mean {name}?" or len(name) < 7, (misspelt, hint)


@pytest.mark.parametrize("command", COMMANDS)
def test_an_option_that_is_like_none_is_refused_wherever_it_stands(call: Call, command: str) -> None:
    for words in (["--xyzzyqq", *ARGUMENTS[command]], [*ARGUMENTS[command], "-Zqq"]):
        error, hint = says(call, command, *words)
        assert error == f"unknown option {'--xyzzyqq' if '--xyzzyqq' in words else '-Zqq'}"
        assert hint.startswith(f"nextword {command} --help lists the options")
        assert ("-- " in hint.removeprefix(f"nextword {command} --help")) == (command in TEXTS)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_value_is_asked_for_and_given_once(call: Call, command: str) -> None:
    for option in options_of(command):
        name, (tokens, several) = option.name, option.token_count()
        others = [word for word in ARGUMENTS[command] if name != "--out" or word not in ("--out", "x")]
        if tokens == 0:
            assert says(call, command, *others, name, name)[0] == f"{name} was given twice"
            assert says(call, command, *others, f"{name}=예")[0] == f"{name} is '예', it must be true or false"
            continue
        assert says(call, command, *others, name)[0] == f"{name} needs a value"
        if not option.parameter.allow_leading_hyphen:
            assert says(call, command, name, options_of(command)[-1].name, *others)[0] == f"{name} needs a value"
        if not several and get_origin(option.hint) is not Literal:
            assert says(call, command, *others, name, "1", name, "1")[0] == f"{name} was given twice"


@pytest.mark.parametrize(
    ("kind", "wanted"), [(int, "a whole number"), (float, "a number")], ids=["whole numbers", "numbers"]
)
def test_what_is_no_number_is_said_to_be_none(call: Call, kind: type, wanted: str) -> None:
    found = of_a_type(kind)
    assert len(found) > 10
    for command, name in found:
        for value in ("하나", "1.5.1", ""):
            assert (
                says(call, command, *ARGUMENTS[command], name, value)[0] == f"{name} is {value!r}, it must be {wanted}"
            )


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    [
        (["predict", "hello", "world"], "a text of several words needs quotes", 'nextword predict "hello world"'),
        (["안녕", "세상"], "a text of several words needs quotes", 'nextword "안녕 세상"'),
        (["look", "a", "b", "--top", "3"], "a text of several words needs quotes", 'nextword look "a b"'),
        (
            ["generate", "it's", 'a "b"'],
            "a text of several words needs quotes",
            """nextword generate 'it'"'"'s a "b"'""",
        ),
        (
            ["generate", "-n", "2", "--", "--debug", "-n", "2"],
            "a text of several words needs quotes",
            'nextword generate "--debug -n 2"',
        ),
        (["info", "--", "-a", "-b"], "info takes only MODEL, found -a, -b", "nextword info --help"),
        (["predict", "--text", "a", "b"], "--text was given, and b too", "nextword predict --help"),
        (["chat", "smollm2", "-m", "hi"], "-m was given, and smollm2 too", "nextword chat --help"),
        (["genrate", "hi"], "there is no command genrate", 'did you mean "nextword generate"?'),
        (["tokenise", "hi", "--json"], "there is no command tokenise", 'did you mean "nextword tokenize"?'),
        (["book", "--tpo", "3"], "unknown option --tpo", "did you mean --top?"),
        (["doctor", "x"], "doctor takes no argument, found x", "nextword doctor --help"),
        (["info", "a", "b"], "info takes only MODEL, found a, b", "nextword info --help"),
        (["convert", "a", "b", "c"], "convert takes only SOURCE and OUT, found a, b, c", "nextword convert --help"),
        (["convert", "a"], "convert needs OUT", "nextword convert model.gguf my-model"),
        (["convert", "--source", "a", "b"], "after --source, 'b' needs its name too", "nextword convert ... --out b"),
        (["export"], "export needs --out", "nextword export my-model --format gguf --out my-model.gguf"),
        (["figure"], "no text was given", 'nextword figure "The children are playing in the"'),
        (["pull", "x", "--from", "Hub"], "--from is 'Hub', it must be package or hub", "nextword pull --help"),
        (
            ["hi", "--precision", "q5"],
            (
                "--precision is 'q5', it must be auto, float32, float16, bfloat16, "
                "q8_0, q6_k, q5_k_m, q5_1, q5_0, q4_k_m, q4_1 or q4_0"
            ),
            "nextword predict --help",
        ),
        (["hi", "-nten"], "-n is 'ten', it must be a whole number", "nextword predict --help"),
        (["hi", "--no-words"], "unknown option --no-words", "did you mean --words?"),
        (["verify", "--no-keeep"], "unknown option --no-keeep", "did you mean --no-keep?"),
        (
            ["--install-completion", "fosh"],
            "SHELL is 'fosh', it must be bash, zsh or fish",
            "nextword --install-completion --help",
        ),
    ],
)
def test_mistakes_in_plain_words(call: Call, words: list[str], error: str, hint: str) -> None:
    assert says(call, *words) == [error, hint]


@pytest.mark.parametrize("text", ["--debug", "--top", "-n", "--안녕", "-", "--help", "--", "--model=x"])
def test_behind_two_hyphens_everything_is_text(call: Call, text: str) -> None:
    values = call("tokenize", "--json", "--", text, stdin=text.encode()).json
    assert b"".join(bytes.fromhex(item["bytes"]) for item in values) == text.encode()


@pytest.mark.parametrize("text", ["-5 degrees", "- item", "--- title ---", "-1", "— dash"])
def test_a_text_may_begin_with_a_hyphen(call: Call, text: str) -> None:
    assert b"".join(bytes.fromhex(item["bytes"]) for item in call("tokenize", text, "--json").json) == text.encode()


def test_a_stop_string_may_look_like_an_option(call: Call) -> None:
    result = call("generate", "hi", "-n", "1", "--stop", "--no-such-option", "--json")
    assert result.json["prompt"] == "hi"


FLAGS = {"restart": "--restart", "top_k": "--top-k", "top_p": "--top-p", "from_model": "--from", "steps": "--steps"}


@pytest.mark.parametrize(
    ("said", "typed"),
    [
        ("resume=True goes on, restart=True throws it away", "resume=True goes on, --restart throws it away"),
        ('start from one: from_model="smollm2"', "start from one: --from smollm2"),
        ("leave out top_k=..., or top_p=0.5.", "leave out --top-k, or --top-p 0.5."),
        ("top_k is 0, top_k_max is not", "--top-k is 0, top_k_max is not"),
        ("steps is 0 after 4 steps", "--steps is 0 after 4 steps"),
        ("after 4 steps the rest is over", "after 4 steps the rest is over"),
        ("cannot be chosen with from_model: it has its own", "cannot be chosen with --from: it has its own"),
        ("C=3 and my-top_k and x.top_k stay", "C=3 and my-top_k and x.top_k stay"),
    ],
)
def test_settings_become_flags(said: str, typed: str) -> None:
    assert python_names_to_flags(said, FLAGS) == typed


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ("predict", "shorten the prompt, or use --overflow slide, which goes on with the newest half of the context"),
        ("figure", "shorten the prompt"),
        ("chat", "shorten the prompt"),
    ],
)
def test_a_hint_proposes_only_what_the_command_takes(command: str, hint: str) -> None:
    assert format_error(ContextOverflowError(5, 3), _app(command), command)[1] == hint
    python = ConfigError("no", hint="names= keeps less; lm.use_torch() lets it; wait; pip install 'x==1'")
    assert format_error(python, _app(command), command)[1] == "wait; pip install 'x==1'"


def test_fields_of_a_file_keep_their_names() -> None:
    assert python_names_to_flags("config.json: top_k is 0", FLAGS, of_file=True) == "config.json: top_k is 0"
    assert python_names_to_flags("begin anew with restart=True", FLAGS, of_file=True) == "begin anew with --restart"


def test_a_python_error_shows_its_hint() -> None:
    with pytest.raises(NextwordError) as caught:
        nextword.load("없는-모델")
    assert caught.value.__notes__ == [f"hint: {caught.value.hint}"]
    assert "".join(traceback.format_exception(caught.value)).splitlines()[-2:] == [
        "nextword.errors.ModelFileError: there is no model at 없는-모델",
        f"hint: {caught.value.hint}",
    ]
    assert str(caught.value) == "there is no model at 없는-모델"
    assert 'overflow="slide"' in ContextOverflowError(9, 8).__notes__[0]
    assert not hasattr(ConfigError("plain"), "__notes__")


SOURCE = Path(nextword.__file__).parent
SHELL = re.compile(r"(nextword [a-z]+|torchrun|llama-gguf-split|pip|install_command)\b")


def test_no_room_below_the_command_line_speaks_of_flags() -> None:
    """A flag stands only inside a whole command for the shell."""
    checked = 0
    for file in SOURCE.rglob("*.py"):
        room = file.relative_to(SOURCE).parts[0]
        if room in ("cli", "terminal"):
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not ast.unparse(node.func).endswith(("Error", "Gap", "missing_extra")):
                continue
            checked += 1
            for said in (*node.args, *(keyword.value for keyword in node.keywords)):
                text = ast.unparse(said)
                flag = re.search(r"(?<![\w-])--[a-z]", text)
                assert flag is None or SHELL.search(text, 0, flag.start()), f"{file}:{node.lineno}: {text}"
    assert checked > 300


# -- help, --debug and `--` ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "same"),
    [
        (["help"], ["--help"]),
        (["version"], ["--version"]),
        *((["help", command], [command, "--help"]) for command in ("predict", "runs", "doctor")),
    ],
)
def test_help_and_version_are_commands_too(call: Call, words: list[str], same: list[str]) -> None:
    assert call(*words).out == call(*same).out != ""


def test_help_to_what_is_no_command_says_so(call: Call) -> None:
    error, hint = says(call, "help", "predct")
    assert (error, hint) == (
        "there is no command predct",
        'did you mean predict; if it is a text: nextword "help predct"',
    )
    assert says(call, "help", "나를")[1] == 'nextword help lists them; if it is a text: nextword "help 나를"'
    assert says(call, "help", "me", "please") == [
        "a text of several words needs quotes",
        'nextword "help me please"',
    ]


@pytest.mark.parametrize(
    "words",
    [
        ["--debug", "predict", "하나", "-n", "0"],
        ["predict", "--debug", "하나", "-n", "0"],
        ["predict", "하나", "-n", "0", "--debug"],
        ["하나", "-n", "0", "--debug"],
        ["--debug", "하나", "-n", "0"],
    ],
)
def test_debug_is_a_flag_wherever_options_stand(words: list[str]) -> None:
    with pytest.raises(ConfigError, match="top is 0"):
        nextword.cli.run(words)


@pytest.mark.parametrize(
    "words", [["--stop", "--debug"], ["--stop=--debug"], ["--stop", "a", "--stop", "--debug"], ["--", "--debug"]]
)
def test_debug_as_a_value_or_a_text_is_none(call: Call, words: list[str]) -> None:
    text = [] if "--" in words else ["하나"]
    result = call("generate", *text, "--top-k", "0", *words)
    assert (result.code, result.errors[0][:19]) == (2, "error: --top-k is 0")


def test_options_behind_the_text_that_stands_behind_the_stroke_are_put_before_it(call: Call) -> None:
    assert says(call, "--", "--help me", "--top", "2") == [
        "behind `--` all is text, options too: they stand before it",
        'nextword --top 2 -- "--help me"',
    ]
    assert says(call, "generate", "--seed", "1", "--", "-나", "-n", "3")[1] == (
        "nextword generate --seed 1 -n 3 -- '-나'"
    )
    assert says(call, "predict", "--", "a", "b")[0] == "a text of several words needs quotes"


WITHOUT_TORCH = """
import sys
from nextword.cli import run
code = run(sys.argv[1:])
print(code, sorted({"torch", "matplotlib", "seaborn"} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    ("words", "says_so"),
    [
        (["look", "hi", "--ablate", "foo"], "--ablate foo is neither a head nor a layer"),
        (["look", "hi", "--ablate", "1.mpl"], "--ablate 1.mpl is neither"),
        (["figure", "hi", "-o", "x.xyz"], "unknown suffix '.xyz'"),
        (["figure", "hi", "-o", "없는/x.png"], "there is no directory 없는"),
        (["figure", "hi", "--kind", "pie"], "there is no figure 'pie'"),
    ],
)
def test_a_wrong_name_is_refused_before_anything_large_is_imported(words: list[str], says_so: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *words], capture_output=True, encoding="utf-8", check=True, timeout=120
    )
    assert says_so in done.stderr
    assert done.stdout == "2 []\n"
