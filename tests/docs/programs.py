"""Whether a page's programs and those of its Korean twin are the same."""

from __future__ import annotations

import ast
import re


def assert_same_program(english: str, korean: str, name: str) -> None:
    """Where a text in the program differs, the Korean one is in Hangul; nothing else differs but comments."""
    magics, trees = zip(*map(_program, (english, korean)), strict=True)
    assert magics[0] == magics[1], name
    for ours, theirs in zip(*map(ast.walk, trees), strict=True):
        if isinstance(ours, ast.Constant) and isinstance(theirs, ast.Constant) and ours.value != theirs.value:
            assert re.search("[가-힣]", str(theirs.value)), (name, ours.value, theirs.value)
            ours.value = theirs.value
    assert ast.dump(trees[0]) == ast.dump(trees[1]), name


def _program(source: str) -> tuple[list[str], ast.Module]:
    """The lines that speak to IPython, and the Python."""
    magics = [line for line in source.splitlines() if line.startswith("%")]
    tree = ast.parse(re.sub(r"^%.*$", "", source, flags=re.MULTILINE))
    return magics, _Gathered().visit(tree)


class _Gathered(ast.NodeTransformer):
    """What an f-string says besides its values, in one piece: languages put it in other places."""

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.Tuple:
        self.generic_visit(node)
        said = "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
        values = [part for part in node.values if not isinstance(part, ast.Constant)]
        return ast.Tuple([ast.Constant(said), *values], ast.Load())
