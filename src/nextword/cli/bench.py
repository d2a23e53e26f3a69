"""`nextword bench`: how fast a model runs here, beside other engines."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from nextword.cli.options import DEFAULT_LOADING, Json, LoadingFlags, ModelArgument, print_json


def bench(
    model: ModelArgument = None,
    *,
    rounds: int = 5,
    max_new_tokens: Annotated[int, Parameter(name=["--max-new-tokens", "-n"])] = 64,
    prompt: int = 512,
    loading: LoadingFlags = DEFAULT_LOADING,
    threads: int | None = None,
    peers: Annotated[bool, Parameter(negative="--no-peers")] = True,
    as_json: Json = False,
) -> None:
    """Measure a model's speed, how near it is to the machine's limits, and other engines that are installed.

    transformers and llama.cpp (llama-cpp-python) take turns with the native engine, all on the CPU and on the
    same weights; with --precision, which rounds them, the native engine runs alone.

    Args:
        model: The model.
        rounds: How often every engine has its turn; figures are medians.
        max_new_tokens: Tokens to write.
        prompt: Tokens of the long prompt.
        loading: What the native engine's weights are rounded to; it runs on the CPU.
        threads: Of every engine; the performance cores if left out.
        peers: Measure other engines too.
        as_json: Print JSON.
    """
    from nextword.measuring.bench import bench as run
    from nextword.terminal.bench_view import show_bench
    from nextword.terminal.console import make_console

    with make_console(stderr=True).status("reading the model") as status:
        measured = run(
            model,
            rounds=rounds,
            count=max_new_tokens,
            prompt=prompt,
            **loading,
            threads=threads,
            peers=peers,
            watch=lambda doing: status.update(f"measuring: {doing}"),
        )
    if as_json:
        print_json(measured.to_json())
    else:
        show_bench(make_console(), measured)
