"""What a template looks for in the messages, read from its parsed form."""

from __future__ import annotations

from collections.abc import Iterator

from jinja2 import nodes

_SEARCHES = """count endswith find index lstrip partition removeprefix removesuffix replace rfind rindex rpartition
    rsplit rstrip split startswith strip"""
"""Methods of text that look for their argument."""


def searched_texts(tree: nodes.Template) -> frozenset[str]:
    """The texts that a template cuts messages at, or asks whether they hold them: `</think>`, mostly."""
    named = {
        assigned.target.name: assigned.node
        for assigned in tree.find_all(nodes.Assign)
        if isinstance(assigned.target, nodes.Name)
    }
    return frozenset(
        text
        for searched in _searched(tree)
        for text in _texts(named.get(searched.name, searched) if isinstance(searched, nodes.Name) else searched)
    )


def reads_parts(tree: nodes.Template) -> bool:
    """Whether a template reads the text of messages that are lists of parts."""
    attributes = any(node.attr == "text" for node in tree.find_all(nodes.Getattr))
    keys = (node.arg for node in tree.find_all(nodes.Getitem))
    return attributes or any(isinstance(key, nodes.Const) and key.value == "text" for key in keys)


def _searched(tree: nodes.Template) -> Iterator[nodes.Expr]:
    for compared in tree.find_all(nodes.Compare):
        if any(operand.op in ("in", "notin") for operand in compared.ops):
            yield compared.expr
    for called in tree.find_all(nodes.Call):
        if isinstance(called.node, nodes.Getattr) and called.node.attr in _SEARCHES.split():
            yield from called.args
    for filtered in tree.find_all(nodes.Filter):
        if filtered.name == "replace":
            yield from filtered.args[:1]


def _texts(node: nodes.Node) -> Iterator[str]:
    """The texts written in an expression: `'</' ~ name ~ '>'` has two."""
    for constant in [node, *node.find_all(nodes.Const)]:
        if isinstance(constant, nodes.Const) and isinstance(constant.value, str):
            yield constant.value
