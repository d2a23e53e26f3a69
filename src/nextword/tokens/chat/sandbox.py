"""Jinja2 for templates that nobody has read: they reach plain data and a fixed list of methods, within a budget.

Before a parsed template is compiled, it gets guards around each construct that Jinja turns into bare Python: loop
passes, literals, comparisons, slices, concatenation. Calls, filters, tests and operators Jinja hands to its
environment anyway. So no loop runs, and no value grows, without being counted. minijinja, which is written in Rust,
bounds steps but not memory: a template that doubles a text ends the process (docs/lab-notes.md).
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from types import BuiltinMethodType
from typing import Any, cast

from jinja2 import Undefined, nodes
from jinja2.exceptions import TemplateError, TemplateSyntaxError
from jinja2.ext import Extension, loopcontrols
from jinja2.meta import find_undeclared_variables
from jinja2.parser import Parser
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Cycler, Namespace
from jinja2.visitor import NodeTransformer

from nextword.errors import ModelFileError
from nextword.tokens.chat.budget import Budget
from nextword.tokens.chat.filters import (
    CONCATENATE,
    STEP,
    TAKE,
    BudgetContext,
    budget_of,
    filters,
    functions,
    one_line,
    tests,
    write,
)
from nextword.tokens.chat.reading import reads_parts, searched_texts

MAX_SOURCE_LENGTH = 100_000  # characters; the longest published templates have some 30,000

_STRING_METHODS = """capitalize casefold center count endswith find format index isalnum isalpha isascii isdecimal
    isdigit islower isnumeric isspace istitle isupper join ljust lower lstrip partition removeprefix removesuffix
    replace rfind rindex rjust rpartition rsplit rstrip split splitlines startswith strip swapcase title upper zfill"""
_LOOP = "changed cycle depth depth0 first index index0 last length nextitem previtem revindex revindex0"
_METHODS: Mapping[type, frozenset[str]] = {
    str: frozenset(_STRING_METHODS.split()),
    list: frozenset({"count", "index"}),
    tuple: frozenset({"count", "index"}),
    dict: frozenset({"get", "items", "keys", "values"}),
    Cycler: frozenset({"current", "next", "reset"}),
    LoopContext: frozenset(_LOOP.split()),
}
_INDEXED = (str, list, tuple, dict, range)
# What Jinja and Python raise where a template is wrong.
_FAULTS = (TemplateError, TypeError, ValueError, LookupError, ArithmeticError, AttributeError, AssertionError)


class Template:
    """A compiled template.

    Args:
        source: Jinja.

    Attributes:
        variables: The names that it asks for.
        searched: The texts that it cuts messages at, or asks whether they hold them.
        reads_parts: Whether it reads messages whose content is a list of parts.

    Raises:
        ModelFileError: It is no Jinja, or uses something that is not available.
    """

    def __init__(self, source: str) -> None:
        if len(source) > MAX_SOURCE_LENGTH:
            raise ModelFileError(
                f"the chat template has {len(source):,} characters, at most {MAX_SOURCE_LENGTH:,} are supported"
            )
        environment = _Environment()
        try:
            tree = environment.parse(source)
            self.variables = frozenset(find_undeclared_variables(tree))
            self.searched, self.reads_parts = searched_texts(tree), reads_parts(tree)
            self._template = environment.from_string(_BudgetTransformer(environment).visit(tree))
        except TemplateSyntaxError as error:
            raise ModelFileError(f"the chat template, line {error.lineno}: {one_line(error.message or '')}") from None
        except (TemplateError, SyntaxError, RecursionError, MemoryError, ValueError, TypeError) as error:
            raise ModelFileError(f"the chat template cannot be compiled: {one_line(str(error))}") from None

    def render(self, variables: Mapping[str, Any]) -> str:
        """The text that the template makes of plain data.

        Raises:
            ModelFileError: The template fails, does something that is not available, or passes a limit.
            ConfigError: It refuses the data, with `raise_exception`.
        """
        context = self._template.new_context(dict(variables))
        try:
            return "".join(_bounded(self._template.root_render_func(context), budget_of(context)))
        except _FAULTS as error:
            frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == "<template>"]
            line = f", line {self._template.get_corresponding_lineno(frames[-1].lineno or 0)}" if frames else ""
            raise ModelFileError(f"the chat template{line}: {one_line(str(error))}") from None
        except RecursionError:
            raise ModelFileError("the chat template nests its calls or values too deeply") from None


def _bounded(pieces: Iterator[str], budget: Budget) -> Iterator[str]:
    total = 0
    for piece in pieces:
        total += len(piece)
        budget.check_size(total)
        yield piece


class _AttributeSandbox(ImmutableSandboxedEnvironment):
    """Only listed methods can be reached by attribute, and elements of plain data."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, Undefined):
            return obj[attribute]  # raises, and says what is undefined
        if self._allows(obj, attribute):
            try:
                return getattr(obj, attribute)
            except AttributeError:  # a name that a namespace does not have
                return self.undefined(obj=obj, name=attribute)
        if type(obj) is dict and attribute in obj:
            return obj[attribute]
        return self._undefined(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, Undefined):
            return obj[argument]  # raises, and says what is undefined
        if type(obj) in _INDEXED and isinstance(argument, (str, int, float, type(None))):
            try:
                return obj[argument]
            except (TypeError, LookupError):
                pass
        if isinstance(argument, str) and self._allows(obj, argument):
            return self.getattr(obj, argument)
        return self._undefined(obj, argument)

    @staticmethod
    def _allows(obj: Any, attribute: str) -> bool:
        return attribute in _METHODS.get(type(obj), ()) or (type(obj) is Namespace and not attribute.startswith("_"))

    def _undefined(self, obj: Any, attribute: Any) -> Undefined:
        """Undefined; where Python has such an attribute, its use says that it is not allowed."""
        if isinstance(attribute, str) and hasattr(type(obj), attribute):
            return self.unsafe_undefined(obj, attribute)
        return self.undefined(obj=obj, name=attribute)


class _Environment(_AttributeSandbox):
    """What templates are compiled with: every operation asks the budget first, and is measured afterwards."""

    context_class = BudgetContext
    intercepted_binops = frozenset(["+", "-", "*", "/", "//", "%", "**"])

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,  # nothing is computed before there is a budget
            extensions=[loopcontrols, _GenerationTag],
            finalize=write,
        )
        self.filters, self.tests, self.globals = filters(_AttributeSandbox()), tests(_AttributeSandbox()), functions()

    def call(self, context: Context, obj: Any, /, *args: Any, **named: Any) -> Any:
        budget = budget_of(context)
        budget.step()
        if isinstance(obj, BuiltinMethodType):
            args = tuple(list(arg) if isinstance(arg, Iterator) else arg for arg in args)
            given = {name: value for name, value in named.items() if name != "_loop_vars"}  # which Jinja adds
            budget.check_before(obj.__name__, obj.__self__, args, given)
        return budget.charge(super().call(context, obj, *args, **named))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        budget = budget_of(context)
        budget.check_before(operator, left, (right,), {})
        return budget.charge(super().call_binop(context, operator, left, right))


class _GenerationTag(Extension):
    """`{% generation %}...{% endgeneration %}` marks the assistant's words, which matters in training only."""

    tags = {"generation"}  # noqa: RUF012  as Jinja declares it

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


class _BudgetTransformer(NodeTransformer):
    """Puts guards into a parsed template."""

    def __init__(self, environment: _Environment) -> None:
        self._environment = environment

    def visit(self, node: nodes.Node, *args: Any, **named: Any) -> Any:
        match node:
            case nodes.Include() | nodes.Import() | nodes.FromImport() | nodes.Extends() | nodes.Block():
                raise TemplateSyntaxError(f"`{type(node).__name__.lower()}` is not available", node.lineno)
            case nodes.Name(name="varargs" | "kwargs"):  # they gather values without a guard
                raise TemplateSyntaxError(f"`{node.name}` is not available", node.lineno)
            case nodes.TemplateData():
                return nodes.Const(node.data, lineno=node.lineno)  # a constant is written through `_write`
        self.generic_visit(node, *args, **named)
        match node:
            case nodes.For():
                passed = self._guard(STEP, nodes.Const(None, lineno=node.lineno))
                node.body.insert(0, nodes.ExprStmt(passed, lineno=node.lineno))
                node.test = self._guard(STEP, node.test) if node.test is not None else None
            case nodes.Concat():
                return self._guard(CONCATENATE, nodes.List(node.nodes, lineno=node.lineno))
            case nodes.Compare():
                return self._guard(STEP, node)
            case nodes.List() | nodes.Dict() | nodes.Tuple(ctx="load") | nodes.Getitem(arg=nodes.Slice()):
                return self._guard(TAKE, cast(nodes.Expr, node))
        return node

    def _guard(self, name: str, node: nodes.Node) -> nodes.Filter:
        return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno, environment=self._environment)
