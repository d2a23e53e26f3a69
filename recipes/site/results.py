"""What benchmarks measured, as tables: benchmarks/results/NAME.json is what `benchmarks/NAME.py --json` printed."""

from __future__ import annotations

import json
import re
from pathlib import Path

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
_COLUMNS = re.compile(r"<!-- columns\n(.*?)\n-->", re.DOTALL)
_WORDS = {
    "en": ("Measured {date} with {versions}: {machine}.", "Written down from {source}."),
    "ko": ("{date}에 {versions}(으)로 측정했습니다: {machine}.", "{source}에서 옮겨 적은 수치입니다."),
}


def results_section(name: str, page: str, language: str) -> str:
    """The command, its tables, and where and when they were measured.

    Args:
        name: Of the benchmark.
        page: The page's source. In languages other than English a comment in it, `<!-- columns`, names every column:
            a line each, `English = translated`.
        language: Of the page.

    Raises:
        ValueError: There are no results of this name, or a column has no translation.
    """
    file = RESULTS / f"{name}.json"
    if not file.is_file():
        raise ValueError(f"{file} is missing: python benchmarks/{name}.py --json > {file}")
    found = json.loads(file.read_text(encoding="utf-8"))
    columns = translations(page) if language != "en" else None
    parts = [f"```bash\n{found['command']}\n```"]
    for table in found["tables"]:
        head = table["columns"]
        if columns is not None:
            missing = [column for column in head if column and column not in columns]
            if missing:
                raise ValueError(f"the {language} page has no word for the column {missing[0]!r} of {name}")
            head = [columns[column] if column else "" for column in head]
        lines = [head, table["align"], *table["rows"]]
        parts.append("\n".join(f"| {' | '.join(cells)} |" for cells in lines))
    measured, copied = _WORDS[language]
    versions = ", ".join(f"{package} {version}" for package, version in found["versions"].items())
    told = measured.format(date=found["date"], versions=versions, machine=found["machine"])
    if "source" in found:
        told += " " + copied.format(source=found["source"])
    return "\n\n".join([*parts, told])


def translations(page: str) -> dict[str, str]:
    """English column -> what a page calls it."""
    found = _COLUMNS.search(page)
    lines = found[1].splitlines() if found else []
    return dict((part.strip() for part in line.split(" = ", 1)) for line in lines)  # type: ignore[misc]
