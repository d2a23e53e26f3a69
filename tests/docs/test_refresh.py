"""Refreshing a page writes what its programs and commands print now, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

import nextword
from tests.docs.refresh import refresh

PAGE = """# A page

```python
print(1 + 1)
```

```text
3
```

Between.

```bash
nextword version
```

```text
stale
```

```python
unshown = 1
```
"""


def test_only_the_blocks_below_programs_change(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE, encoding="utf-8")
    refresh(page)
    assert page.read_text(encoding="utf-8") == PAGE.replace("text\n3\n", "text\n2\n").replace(
        "stale", f"nextword {nextword.__version__}"
    )


def test_a_command_that_fails_leaves_the_page_as_it_is(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(text := PAGE.replace("version\n", "version --no-such-option\n"), encoding="utf-8")
    with pytest.raises(SystemExit):
        refresh(page)
    assert page.read_text(encoding="utf-8") == text
