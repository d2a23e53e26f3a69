"""Every command explains itself, and what needs no torch does not import it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from nextword import __version__
from nextword.cli import COMMANDS
from tests.cli.conftest import Call
from tests.conftest import Trained

OPTIONS = {
    "predict": "--model --top --words --steps --temperature --top-k --top-p --min-p --overflow --device --precision "
    "--json",
    "generate": "--model --max-new-tokens --temperature --top-k --top-p --min-p --repetition-penalty --seed --stop "
    "--logprobs --overflow --device --precision --json",
    "look": "--model --top --position --layer --head --ablate --patch-from --patch-at --patch-positions --lens "
    "--html --open --overflow --device --precision --json",
    "chat": "--model -m --system --message --max-new-tokens --temperature --top-k --top-p --min-p --repetition-penalty "
    "--seed --device --precision --json",
    "train": "--out --minutes --steps --preset --from --lora --validation --encoding --text-field --exclude --compose "
    "--vocab-size --context-length --batch-size --accumulation --learning-rate --weight-decay --dropout --bpe-dropout "
    "--precision --strategy --activation-checkpointing --compile --evaluate-every --seed --device --resume --restart "
    "--checkpoint-seconds --snapshots --serve --port --log --json",
    "runs": "--curve --json",
    "info": "--model -m --json",
    "verify": "--keep --no-keep --json",
    "cloze": "--misses --device --precision --json",
    "bench": "--rounds --max-new-tokens --prompt --device --precision --threads --peers --no-peers --json",
    "serve": "--host --port --allow-origin --allow-host --sampling --temperature --top-k --top-p --min-p "
    "--repetition-penalty --presence-penalty --frequency-penalty --context --slots --queue --request-seconds "
    "--drain-seconds --device --precision --threads --log --run --open",
    "tokenize": "--model --json",
    "pull": "--from --revision --remove --json",
    "convert": "--precision --json",
    "export": "--out --format --precision --json",
    "lens-fit": "--model -m --text --kind --steps --out -o --half --device --precision --json",
    "figure": "--out --kind --model --layer --head --colour --lens --target --top --temperature --top-k --top-p "
    "--min-p --device --precision",
    "doctor": "--speed --no-speed --json",
}


def test_the_overview_names_every_command(call: Call) -> None:
    result = call("--help")
    assert (result.code, result.err) == (0, "")
    for name, summary in COMMANDS.items():
        assert f"{name} " in result.out
        assert summary in result.out
    assert "--debug" in result.out
    assert call("-h") == result
    assert call() == result


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_explained(call: Call, command: str) -> None:
    result = call(command, "--help")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith(f"Usage: nextword {command} ")
    words = result.out.split()
    assert [option for option in OPTIONS[command].split() if option not in words] == []
    assert all(len(line) <= 80 for line in result.out.splitlines())
    assert "default: ()" not in result.out


def test_the_version(call: Call) -> None:
    assert call("--version").out == f"nextword {__version__}\n"


def test_help_tokenize_and_info_never_import_torch(trained: Trained) -> None:
    code = (
        "import sys; from nextword.cli import COMMANDS, run\n"
        "codes = [run(['--help']), run(['--version'])] + [run([name, '--help']) for name in COMMANDS]\n"
        "codes += [run(['tokenize', '한국', '-m', sys.argv[1]]), run(['info', sys.argv[1]]), run(['predict'])]\n"
        "assert codes == [0] * (len(codes) - 1) + [2], codes\n"
        "assert 'torch' not in sys.modules and 'matplotlib' not in sys.modules\n"
    )
    arguments = [sys.executable, "-X", "utf8", "-W", "error", "-c", code, trained.path]
    result = subprocess.run(arguments, capture_output=True, text=True, encoding="utf-8", check=False, timeout=120)
    assert (result.returncode, result.stderr.splitlines()[0][:6]) == (0, "error:")
    assert {"한", "국"} <= set(result.stdout)
