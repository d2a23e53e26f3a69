"""Templates that mean harm: each ends within its budget, in one clear line, and reaches nothing but plain data."""

from __future__ import annotations

import re
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2.sandbox import ImmutableSandboxedEnvironment

from nextword.errors import ConfigError, ModelFileError, NextwordError
from nextword.tokens.chat.budget import MAX_SECONDS, MAX_STEPS, MAX_TOTAL_SIZE, MAX_VALUE_SIZE
from nextword.tokens.chat.sandbox import MAX_SOURCE_LENGTH, Template
from tests.tokens.chat.chatting import TEMPLATES

DATA: dict[str, Any] = {
    "text": "안녕 <b>hi</b> 🙂",
    "numbers": [3, 1, 2],
    "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "가"}],
    "big": "ab" * 250_000,
    "values": {"a": 1, "items": 2, "b": [None, True, 1.5]},
}
STEPS = f"takes more than ({MAX_STEPS:,} steps|{MAX_SECONDS:g} seconds)"  # seconds on a machine that is very busy
LONG = f"makes a value of more than {MAX_VALUE_SIZE:,} characters and elements"
MUCH = f"makes more than {MAX_TOTAL_SIZE:,} characters and elements"
BITS = "makes a number of more than 64 bits"
DEEP = "nests its calls or values too deeply"
NONE = "has no attribute"
UNSAFE = r"access to attribute '\w+' of '\w+' object is unsafe"
GROW = "{% set ns = namespace(a='aa', l=[1, 1], n=3) %}{% for i in range(99) %}{% set %} {% endfor %}"

LIMITS = {
    "nested loops": ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", STEPS),
    "nested loops over a text": ("{% for i in big %}{% for j in big %}{% endfor %}{% endfor %}", STEPS),
    "loops that filter everything": (
        "{% for i in range(99999) %}{% for j in range(99999) if false %}{% endfor %}{% endfor %}",
        STEPS,
    ),
    "a recursive loop": ("{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}", DEEP),
    "a recursive loop with many branches": (
        "{% for i in range(9) recursive %}{% if loop.depth < 50 %}{{ loop(range(9)) }}{% endif %}{% endfor %}",
        STEPS,
    ),
    "a macro that calls itself": ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", DEEP),
    "a macro that calls itself twice": (
        "{% macro f(n) %}{% if n %}{% set x = f(n - 1) %}{% set x = f(n - 1) %}{% endif %}{% endmacro %}{{ f(60) }}",
        STEPS,
    ),
    "macros that double their text": (
        "{% macro a() %}"
        + "x" * 99
        + "{% endmacro %}"
        + "".join(
            f"{{% macro {new}() %}}{{{{ {old}() }}}}{{{{ {old}() }}}}{{% endmacro %}}"
            for old, new in zip("abcdefghijklmnopqrstuv", "bcdefghijklmnopqrstuvw", strict=True)
        )
        + "{% set x = w() %}",
        f"({LONG}|{MUCH})",
    ),
    "a long output": ("{% for i in range(99999) %}" + "x" * 50 + "{% endfor %}", LONG),
    "a long output of a variable": ("{% for i in range(9) %}{{ big }}{% endfor %}", LONG),
    "a long text in a block": (
        "{% set x %}{% for i in range(99) %}{{ big }}{% endfor %}{% endset %}",
        MUCH,
    ),
    "a long text in a filter block": (
        "{% filter upper %}{% for i in range(99) %}{{ big }}{% endfor %}{% endfilter %}",
        MUCH,
    ),
    "a text times a number": ("{{ 'a' * 10**10 }}", LONG),
    "a number times a text": ("{{ 10**10 * 'a' }}", LONG),
    "a list times a number": ("{{ [1, 2] * 10**10 }}", LONG),
    "a range too long": ("{{ range(10**9) }}", "Range too big"),
    "doubling by ~": (GROW.replace("set %", "set ns.a = ns.a ~ ns.a %"), LONG),
    "doubling by +": (GROW.replace("set %", "set ns.a = ns.a + ns.a %"), LONG),
    "doubling a list by +": (GROW.replace("set %", "set ns.l = ns.l + ns.l %"), LONG),
    "doubling by a literal": (GROW.replace("set %", "set ns.l = [ns.l, ns.l] %"), LONG),
    "doubling by a tuple": (GROW.replace("set %", "set ns.l = (ns.l, ns.l) %"), LONG),
    "doubling by a mapping": (GROW.replace("set %", "set ns.l = {'a': ns.l, 'b': ns.l} %"), LONG),
    "doubling by dict": (GROW.replace("set %", "set ns.l = dict(a=ns.l, b=ns.l) %"), LONG),
    "doubling by join": (GROW.replace("set %", "set ns.a = ns.a.join([ns.a, ns.a, ns.a]) %"), LONG),
    "doubling by the filter join": (GROW.replace("set %", "set ns.a = [ns.a, ns.a] | join(ns.a) %"), LONG),
    "doubling by replace": (GROW.replace("set %", "set ns.a = ns.a.replace('a', 'aaaa') %"), LONG),
    "doubling by the filter replace": (GROW.replace("set %", "set ns.a = ns.a | replace('a', 'aaaa') %"), LONG),
    "replacing nothing": ("{{ big.replace('', big) }}", LONG),
    "replacing in a list": ("{{ numbers | replace(1, big * 2) | replace('a', 'ccc') }}", LONG),
    "doubling by format": (GROW.replace("set %", "set ns.a = '%s%s' % (ns.a, ns.a) %"), LONG),
    "doubling by the filter format": (GROW.replace("set %", "set ns.a = '%s%s' | format(ns.a, ns.a) %"), LONG),
    "doubling by str.format": (GROW.replace("set %", "set ns.a = '{0}{0}'.format(ns.a) %"), LONG),
    "repeating one value by name": ("{{ '%(a)s' * 999 % {'a': big} }}", LONG),
    "doubling by indent": (GROW.replace("set %", "set ns.a = ('a\\n' ~ ns.a) | indent(2 * ns.a | length) %"), LONG),
    "doubling by tojson": (GROW.replace("set %", "set ns.a = [ns.a, ns.a] | tojson | tojson %"), LONG),
    "squaring": (GROW.replace("set %", "set ns.n = ns.n * ns.n %"), BITS),
    "adding up": (GROW.replace("set %", "set ns.n = ns.n + ns.n %"), BITS),
    "a power": ("{{ 2 ** 10 ** 9 }}", BITS),
    "a number of many digits": ("{{ ('f' * 999) | int(base=16) }}", BITS),
    "center": ("{{ 'a'.center(10**9) }}", LONG),
    "the filter center": ("{{ 'a' | center(width=10**9) }}", LONG),
    "ljust": ("{{ 'a'.ljust(10**9) }}", LONG),
    "rjust": ("{{ 'a'.rjust(10**9, '가') }}", LONG),
    "zfill": ("{{ 'a'.zfill(10**9) }}", LONG),
    "indent": ("{{ 'a' | indent(10**9) }}", LONG),
    "indent by a text": ("{{ ('a\n' * 999) | indent(big) }}", LONG),
    "batches filled up": ("{{ [1] | batch(10**9, 0) | list }}", LONG),
    "slices": ("{{ [1] | slice(10**9) | list }}", LONG),
    "rounding": ("{{ 1.5 | round(10**9, 'ceil') }}", "rounds to more than 100 digits"),
    "JSON in white space": ("{{ numbers | tojson(indent=10**9) }}", "JSON is indented by at most 100"),
    "JSON in long separators": ("{{ range(999) | list | tojson(separators=(big, ':')) }}", LONG),
    "a search in all places": ("{{ big.rfind('b' ~ 'a' * 400000) }}", STEPS),
    "a strip of everything": ("{{ ('a' * 900000).strip('b' * 90000 ~ 'a') }}", STEPS),
    "splits at the end": ("{{ big.rsplit('a' * 90000) }}", STEPS),
    "a sum of lists": ("{{ [[1], [2]] | sum(start=[]) }}", "only numbers can be summed up"),
    "a long date": ("{{ strftime_now('%A' * 9999) }}", "a date format has at most 200 characters"),
    "elements one by one": (
        "{% set l = big[:200000] | list %}{% for i in range(99) %}{% set x = l | selectattr('x') | list %}{% endfor %}",
        STEPS,
    ),
    "a width in a format": ("{{ '%10000000000d' % 1 }}", "the format '%10000000000d' is not supported"),
    "a width from the values": ("{{ '%*d' % (10**9, 1) }}", r"the format '%\*d' is not supported"),
    "a width behind a name": ("{{ '%(a(b)c)9999999999d' % {'a(b)c': 1} }}", "is not supported"),
    "a width in the filter": ("{{ '%.9999999999f' | format(1.5) }}", "is not supported"),
    "a width in str.format": ("{{ '{:9999999999}'.format(1) }}", "is not supported"),
    "a width within a width": ("{{ '{:{}}'.format(1, 10**9) }}", "is not supported"),
}

REACH = {
    "the class of a text": ("{{ ''.__class__.__mro__ }}", UNSAFE),
    "the class by item": ("{{ ''['__class__'].__mro__ }}", UNSAFE),
    "the class by map": ("{{ ['a'] | map(attribute='__class__.__mro__') | list }}", UNSAFE),
    "the class by select": ("{{ ['a'] | selectattr('__class__.x', 'defined') | list }}", UNSAFE),
    "the class in a format": ("{{ '{0.__class__}'.format('') }}", "is not supported"),
    "an item in a format": ("{{ '{0[role]}'.format(messages[0]) }}", "is not supported"),
    "a format by mapping": ("{{ '{a}'.format_map({'a': 1}) }}", UNSAFE),
    "the filter attr": ("{{ '' | attr('__class__') }}", "No filter named 'attr'"),
    "the globals of a macro": (
        "{% macro f() %}{% endmacro %}{{ f._func.__globals__ }}",
        NONE,
    ),
    "the globals of a function": ("{{ raise_exception.__globals__.x }}", UNSAFE),
    "the code of a loop": ("{% for i in [1] %}{{ loop._iterator.x }}{% endfor %}", "has no attribute '_iterator'"),
    "the innards of a namespace": ("{% set n = namespace(_x=1) %}{{ n._x.y }}", "has no attribute '_x'"),
    "the innards of a cycler": ("{{ cycler(1).items.x }}", "has no attribute 'items'"),
    "the class behind range": ("{{ range.__self__.x }}", NONE),
    "the class behind dict": ("{{ dict.mro() }}", UNSAFE),
    "an alias of dict": ("{{ dict['a'].x }}", "has no attribute 'a'"),
    "the template itself": ("{{ self._TemplateReference__context.x }}", "has no attribute"),
    "the context": ("{{ context.vars.x }}", "'context' is undefined"),
    "the environment": ("{{ environment.globals.x }}", "'environment' is undefined"),
    "append": ("{{ messages.append(1) }}", UNSAFE),
    "update": ("{{ messages[0].update({'role': 'system'}) }}", UNSAFE),
    "pop by item": ("{{ messages['pop'](0) }}", UNSAFE),
    "encode": ("{{ 'a'.encode('utf-8') }}", UNSAFE),
    "translate": ("{{ 'a'.translate({97: 'b' * 999}) }}", UNSAFE),
    "expandtabs": ("{{ '\t'.expandtabs(10**9) }}", UNSAFE),
    "lipsum": ("{{ lipsum(n=10**9) }}", "'lipsum' is undefined"),
    "varargs": ("{% macro f() %}{{ varargs }}{% endmacro %}", "`varargs` is not available"),
    "kwargs": ("{% macro f() %}{{ kwargs }}{% endmacro %}", "`kwargs` is not available"),
    "other files": ("{% include '/etc/passwd' %}", "`include` is not available"),
    "other templates": ("{% import 'x' as y %}", "`import` is not available"),
    "a parent": ("{% extends 'x' %}", "`extends` is not available"),
    "a block": ("{% block x %}{% endblock %}", "`block` is not available"),
    "a guard by its name": ("{{ 'a' | a step }}", "expected token"),
    "an unknown guard": ("{{ ['a'] | map('jinja replace') | list }}", "No filter named"),
    "a function as text": ("{{ range }}", "is no plain data"),
    "a function in a list": ("{{ [range] }}", "is no plain data"),
    "a namespace in itself": ("{% set n = namespace() %}{% set n.n = n %}{{ n }}", "is no plain data"),
    "a key that is a tuple": ("{{ values[(1, 2)].x }}", "has no"),
    "calling a text": ("{{ 'a'() }}", "not callable"),
    "assigning to data": ("{% set messages[0] = 1 %}", "expected token"),
    "assigning to a text": ("{% set text.x = 1 %}", "cannot assign attribute on non-namespace"),
}


def fails(source: str, words: str) -> None:
    """It fails with these words, on one line, and with nothing behind it."""
    with pytest.raises(ModelFileError) as caught:
        Template(source).render(DATA)
    assert re.search(words, caught.value.message), caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.message.startswith("the chat template")
    assert len(caught.value.message) < 400
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("name", LIMITS)
def test_nothing_grows_or_runs_without_end(name: str) -> None:
    fails(*LIMITS[name])


@pytest.mark.parametrize("name", REACH)
def test_nothing_is_reached_but_plain_data_and_listed_methods(name: str) -> None:
    before = repr(DATA["messages"])
    fails(*REACH[name])
    assert repr(DATA["messages"]) == before


def test_the_memory_of_a_rendering_is_bounded() -> None:
    peaks = []
    for name in ("a long text in a block", "doubling by a literal", "slices", "doubling by replace", "squaring"):
        tracemalloc.start()
        fails(*LIMITS[name])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks) < 300e6


@pytest.mark.parametrize(
    "source",
    [
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "{{ " + "[" * 5000 + "]" * 5000 + " }}",
        "{{ " + "-" * 5000 + "1 }}",
        "{{ " + "1+" * 5000 + "1 }}",
        "{{ " + "not " * 5000 + "1 }}",
        "{{ a" + ".a" * 5000 + " }}",
        "{{ a" + "|upper" * 5000 + " }}",
        "{% if 1 %}" * 5000,
        "{% for x in [1] %}" * 30 + "{% endfor %}" * 30,
        "{{ " + "9" * 5000 + " }}",
    ],
)
def test_sources_that_overwhelm_a_parser_are_refused(source: str) -> None:
    fails(source, "the chat template(, line 1| cannot be compiled)")


def test_arguments_that_jinja_only_asserts_are_refused_too() -> None:
    fails("{{ text | truncate(1) }}", "expected length >= 3, got 1")


def test_the_longest_source_is_accepted_and_one_character_more_is_not() -> None:
    assert len(Template("x" * MAX_SOURCE_LENGTH).render({})) == 100_000
    fails("x" * (MAX_SOURCE_LENGTH + 1), "the chat template has 100,001 characters, at most 100,000 are supported")


def test_a_template_cannot_speak_to_the_terminal() -> None:
    with pytest.raises(ConfigError, match=r"the chat template refuses the messages: aU\+001B\[2Jb c가$"):
        Template("{{ raise_exception('a\x1b[2Jb\n\nc가') }}").render({})
    with pytest.raises(ConfigError) as caught:
        Template("{{ raise_exception(big) }}").render(DATA)
    assert len(caught.value.message) < 400
    fails("{{ messages[0]['a\x1b[2J'].x }}", r"has no attribute 'aU\+001B|has no attribute 'a\\x1b\[2J'")


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ numbers[::-1] }}{{ text[:2] }}{{ numbers[-1] }}{{ text[0] }}", "[2, 1, 3]안녕2안"),
        ("{{ values.a }}{{ values['items'] }}{{ values.items() | length }}{{ values.get('x', '-') }}", "123-"),
        ("{% for k, v in values.items() %}{{ k }}={{ v }};{% endfor %}", "a=1;items=2;b=[None, True, 1.5];"),
        (
            "{% for x in numbers %}{{ loop.index }}{{ loop.last }}{{ loop.previtem }};{% endfor %}",
            "1False;2False3;3True1;",
        ),
        ("{{ numbers | sort | join('-') }} {{ numbers | select('gt', 1) | list }}", "1-2-3 [3, 2]"),
        ("{% if numbers | select('gt', 9) %}a generator is true{% endif %}", "a generator is true"),
        ("{{ messages | map(attribute='role') | join(',') }}", "user,assistant"),
        ("{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | first }}", "hi"),
        ("{{ '%-5s|%05.1f|%d%%' % ('가', 2.25, 7) }}", "가    |002.2|7%"),
        ("{{ '{} {0x:>4} {{}} {n:.2f}'.replace('0x', '1').format('가', 7, n=0.5) }}", None),
        ("{{ '{:>4}|{a}|{{}}'.format('가', a=[1]) }}", "   가|[1]|{}"),
        ("{{ text | replace('안녕', 'bye') | upper }} {{ 12 | replace(1, 3) }}", "BYE <B>HI</B> 🙂 32"),
        ("{{ 'a\nb' | indent(2) }} {{ 'x' | center(5) }}|", "a\n  b   x  |"),
        ("{% set ns = namespace(n=0) %}{% for i in numbers %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}", "6"),
        ("{% set j = joiner(', ') %}{% for x in numbers %}{{ j() }}{{ x }}{% endfor %}", "3, 1, 2"),
        (
            "{{ numbers is sequence }}{{ values is mapping }}{{ nothing is defined }}{{ none is none }}",
            "TrueTrueFalseTrue",
        ),
        ("{{ text | tojson }} {{ values | tojson(indent=1) }}", None),
        (
            "{% set x %}a{{ text }}{% endset %}{{ x | length }} {{ x ~ 1 ~ none ~ nothing }}",
            "15 a안녕 <b>hi</b> 🙂1None",
        ),
        (
            "{{ dict(a=1, b='x') }} {{ range(3) | list }} {{ 2 ** 3 }} {{ 7 % 4 }} {{ 1 / 4 }}",
            "{'a': 1, 'b': 'x'} [0, 1, 2] 8 3 0.25",
        ),
        ("{% macro f(a, b=2) %}{{ a }}{{ b }}{{ caller() }}{% endmacro %}{% call f(1) %}x{% endcall %}", "12x"),
        ("  {% if true %}  \nx\n  {%- endif %}\n", None),
    ],
)
def test_what_templates_need_works_as_in_jinja(source: str, text: str | None) -> None:
    plain = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    if "tojson" not in source:
        try:
            expected = plain.from_string(source).render(DATA)
        except ValueError:
            fails(source, "format|cannot")
            return
        assert Template(source).render(DATA) == expected
        assert text in (None, expected)
    else:
        assert Template(source).render(DATA) == (
            '"안녕 <b>hi</b> 🙂" {\n "a": 1,\n "items": 2,\n "b": [\n  null,\n  true,\n  1.5\n ]\n}'
        )


def test_renderings_do_not_share_a_budget() -> None:
    template = Template("{% for i in range(99999) %}{% for j in range(2) %}{% endfor %}{% endfor %}x")
    assert [template.render({}) for _ in range(2)] == ["x"] * 2


FRAGMENTS = ["{{", "}}", "{%", "%}", "{%-", "-%}", "for", "in", "if", "endif", "endfor", "set", "macro", "f()", "ns"]
FRAGMENTS += [
    "endmacro",
    "messages",
    "loop",
    ".",
    "[",
    "]",
    "(",
    ")",
    "|",
    "join",
    "replace",
    "'a'",
    "99999",
    "*",
    "**",
]
FRAGMENTS += [
    "~",
    "+",
    "=",
    "==",
    ",",
    ":",
    "namespace()",
    "range(9)",
    "%",
    "'%9999d'",
    "x",
    "__class__",
    "{#",
    "#}",
    "\n",
]
FRAGMENTS += [
    "generation",
    "endgeneration",
    "is",
    "not",
    "defined",
    "tojson",
    "'{0}'",
    ".format",
    "else",
    "call",
    "filter",
]


def outcome(source: str, data: dict[str, Any]) -> tuple[str, str]:
    """The text, and the message if there is none."""
    try:
        return Template(source).render(data), ""
    except NextwordError as error:
        return "", error.message


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=25))
def test_arbitrary_templates_end_in_a_text_or_in_one_line(fragments: list[str]) -> None:
    assert "\n" not in outcome(" ".join(fragments), DATA)[1]


@given(st.sampled_from(sorted(TEMPLATES)), st.data())
def test_damaged_templates_end_in_a_text_or_in_one_line(name: str, data: st.DataObject) -> None:
    source = TEMPLATES[name]
    start = data.draw(st.integers(0, len(source)))
    end = data.draw(st.integers(start, min(len(source), start + 30)))
    damaged = source[:start] + data.draw(st.sampled_from(["", *FRAGMENTS])) + source[end:]
    assert "\n" not in outcome(damaged, {**DATA, "add_generation_prompt": True, "tools": None})[1]
