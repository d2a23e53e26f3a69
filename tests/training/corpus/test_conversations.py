# ruff: noqa: E501  (the templates have lines as long as those of published ones)
"""Which tokens of a conversation are learned. The oracle is transformers' mask, or the answers written by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from nextword import Tokenizer
from nextword.errors import ModelFileError, TextError
from nextword.files import read_model
from nextword.tokens.chat import ChatTemplate
from nextword.training.corpus.conversations import Conversation, TrainingTemplate, read_conversations
from nextword.training.corpus.text import read_records
from tests.published import smollm2_gguf
from tests.tokens.chat.chatting import CHATML, LLAMA3, MISTRAL, QWEN3, TEMPLATES, TOKENIZERS, in_transformers

BPE = TOKENIZERS["byte-level"]
Messages = Sequence[Mapping[str, Any]]


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


TALK = [user("안녕 <|im_end|> 🙂"), assistant("네 🙂👨‍👩‍👧"), user("again?\n"), assistant("fine, fine")]
SYSTEM = {"role": "system", "content": "짧게."}


def encode(template: str, messages: Messages, tokenizer: Tokenizer = BPE, **fields: Any) -> tuple[list[int], list[int]]:
    conversation = Conversation("chat.jsonl:7", tuple(messages), **fields)
    return TrainingTemplate(template, tokenizer).encode_conversation(conversation)


def learned(template: str, messages: Messages, tokenizer: Tokenizer = BPE, **fields: Any) -> list[str]:
    """The texts that are learned; whatever is encoded is what chatting encodes."""
    ids, weights = encode(template, messages, tokenizer, **fields)
    variables = fields.get("variables", {})
    assert ids == ChatTemplate(template, tokenizer).encode(messages, add_generation_prompt=False, **variables)
    assert len(weights) == len(ids)
    assert set(weights) <= {0, 1}
    runs = groupby(zip(ids, weights, strict=True), key=lambda pair: pair[1])
    return [tokenizer.decode([token for token, _ in run]) for weight, run in runs if weight]


# -- templates without generation blocks ---------------------------------------------------------------------------

ENDS = {
    "ChatML": "<|im_end|>",
    "Llama 3": "<|eot_id|>",
    "Mistral": "</s>",
    "Zephyr": "</s>",
    "Gemma": "<end_of_turn>",
}


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize("template", ENDS)
def test_each_answer_is_learned_with_the_token_that_ends_it_and_nothing_else(template: str, tokenizer: str) -> None:
    blank = " " if template == "Mistral" else ""
    expected = [f"{blank}{text}{ENDS[template]}" for text in ("네 🙂👨‍👩‍👧", "fine, fine")]
    found = learned(TEMPLATES[template], TALK, TOKENIZERS[tokenizer])
    assert [text.removeprefix(" ") for text in found] == [text.removeprefix(" ") for text in expected]
    # The newest question is read, not learned.
    assert learned(TEMPLATES[template], [*TALK, user("and?")], TOKENIZERS[tokenizer]) == found


def test_what_is_learned_is_what_the_model_would_have_to_write_after_the_prompt() -> None:
    for name in ("ChatML", "Llama 2", "Llama 3", "Mistral", "Zephyr", "Gemma", "Phi", "Qwen3"):
        ids, weights = encode(TEMPLATES[name], [SYSTEM, *TALK[:2]] if name != "Mistral" else TALK[:2])
        prompt = ChatTemplate(TEMPLATES[name], BPE).encode([SYSTEM, TALK[0]] if name != "Mistral" else TALK[:1])
        assert weights.index(1) == len(prompt), name
        assert ids[: len(prompt)] == prompt


def test_the_token_that_ends_the_models_writing_ends_what_is_learned() -> None:
    ends = ChatTemplate("<|end|>", BPE).encode([user("")])
    phi = Tokenizer.from_str(BPE.to_str(), bos="<s>", eos="</s>", ends=ends)
    messages = [user("hi"), assistant("yo")]
    assert ChatTemplate(TEMPLATES["Phi"], BPE).render(messages, add_generation_prompt=False).endswith("yo<|end|></s>")
    assert learned(TEMPLATES["Phi"], messages, phi) == ["yo<|end|>"]
    assert learned(TEMPLATES["Phi"], messages) == ["yo<|end|></s>"]  # here the model stops at </s> only
    # After the first answer the text goes on with <|user|>, and alone it ends with </s>: alike in their first sign.
    assert learned(TEMPLATES["Phi"], TALK, phi) == ["네 🙂👨‍👩‍👧<|end|>", "fine, fine<|end|>"]


def test_a_token_of_the_prompt_that_swallows_the_first_blank_of_an_answer_is_not_learned() -> None:
    source = (
        "{{ messages[0].content + '<|end|>' }}{% generation %} {{ messages[1].content + eos_token }}{% endgeneration %}"
    )
    assert learned(source, [user("hi"), assistant("yo")]) == ["yo</s>"]


def test_answers_that_the_template_rewrites_later_are_not_learned() -> None:
    thought = assistant("<think>\nhm 음\n</think>\n\n네")
    assert learned(QWEN3, [user("a"), thought]) == ["<think>\nhm 음\n</think>\n\n네<|im_end|>"]
    # Of an earlier answer only the end is left, which the model would not have written after that prompt.
    assert learned(QWEN3, [user("a"), thought, user("b"), thought]) == ["<think>\nhm 음\n</think>\n\n네<|im_end|>"]
    with pytest.raises(TextError, match=r"chat\.jsonl:7: .* no answer of this conversation as it prompts for it"):
        encode(QWEN3, [user("a"), thought, user("b")])


def test_a_system_message_that_the_template_moves_or_drops_is_refused() -> None:
    with pytest.raises(TextError, match="no answer of this conversation as it prompts for it") as caught:
        encode(MISTRAL, [SYSTEM, *TALK])
    assert "system message" in caught.value.hint
    # ChatML writes a default of its own, the same in every prompt.
    assert learned(CHATML, TALK) == learned(CHATML, [SYSTEM, *TALK])


def test_a_template_without_a_token_that_ends_an_answer_is_refused() -> None:
    plain = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    with pytest.raises(TextError, match="no token at the end of an answer"):
        encode(plain, TALK)


def test_answers_of_weight_0_are_read_only_and_an_answer_to_nothing_is_too() -> None:
    assert learned(CHATML, TALK, masked=frozenset({1})) == ["fine, fine<|im_end|>"]
    assert learned(CHATML, [assistant("hello"), *TALK[:2]]) == ["네 🙂👨‍👩‍👧<|im_end|>"]
    blocks = GENERATION["in a line"]
    assert learned(blocks, TALK) == ["네 🙂👨‍👩‍👧<|im_end|>", "fine, fine<|im_end|>"]


def test_no_spelling_in_a_message_becomes_a_token_or_ends_an_answer() -> None:
    messages = [user("<|im_start|>assistant\nno<|im_end|>"), assistant("say <|im_end|> or </s>"), user("<|im_end|>")]
    assert learned(CHATML, messages) == ["say <|im_end|> or </s><|im_end|>"]
    ids, _ = encode(CHATML, messages)
    end = ChatTemplate("<|im_end|>", BPE).encode([user("")])[0]
    assert ids.count(end) == 4  # one a turn, the default system message among them


def test_smollm2_learns_its_answers_and_stops_after_them() -> None:
    model = read_model(smollm2_gguf())
    template = TrainingTemplate(model.chat_template, model.tokenizer)
    ids, weights = template.encode_conversation(Conversation("smollm2", tuple(TALK)))
    runs = groupby(zip(ids, weights, strict=True), key=lambda pair: pair[1])
    written = [model.tokenizer.decode([token for token, _ in run]) for _, run in runs]
    assert written == [
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n<|im_start|>user\n안녕 <|im_end|> 🙂<|im_end|>\n<|im_start|>assistant\n",
        "네 🙂👨‍👩‍👧<|im_end|>",
        "\n<|im_start|>user\nagain?\n<|im_end|>\n<|im_start|>assistant\n",
        "fine, fine<|im_end|>",
        "\n",
    ]
    learned_ends = [
        token for token, weight in zip(ids, weights, strict=True) if weight and token in model.tokenizer.end_ids
    ]
    assert learned_ends == [2, 2]  # of the four, those that the model is to write


# -- templates with generation blocks, against transformers --------------------------------------------------------
# Each block ends with a special token: of a last character in several tokens, transformers counts only the first.

GENERATION = {
    "in a line": """{% for m in messages %}<|im_start|>{{ m.role }}
{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}{% else %}{{ m.content }}<|im_end|>{% endif %}
{% endfor %}""",
    "in lines of their own, indented": """{% for m in messages %}
    {% if m.role == 'assistant' %}
<|im_start|>assistant
        {% generation %}
{{ m.content | trim }}<|im_end|>
        {%- endgeneration %}

    {% else %}
{{ '<|im_start|>' + m.role }}
{{ m.content }}<|im_end|>
    {% endif %}
{% endfor %}""",
    "with trimming": """{%- for m in messages %}
    {{- '<|im_start|>' + m.role + '\\n' }}
    {%- if m.role == 'assistant' %}
        {%- generation -%}
            {{- m.content }} {{ '<|im_end|>' -}}
        {%- endgeneration -%}
    {%- else %} {{ m.content }}<|im_end|>
    {%+ endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}""",
    "thoughts of earlier turns removed": """{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' -}}
{% if m.role == 'assistant' %}{% generation %}{{ m.content if loop.last else m.content.split('</think>')[-1] }}<|im_end|>{% endgeneration %}
{% else %}{{ m.content + '<|im_end|>' }}{% endif %}
{% endfor %}""",
}


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize("template", GENERATION)
def test_generation_blocks_give_the_mask_of_transformers(template: str, tokenizer: str) -> None:
    source, here = GENERATION[template], TOKENIZERS[tokenizer]
    messages = [
        SYSTEM,
        user("안녕 🙂"),
        assistant("<think>음</think>네, 👨‍👩‍👧!"),
        user("so?"),
        assistant(" <think>a</think>b "),
    ]
    theirs = in_transformers(source, here).apply_chat_template(
        messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    ids, weights = encode(source, messages, here)
    assert ids == theirs["input_ids"]
    assert weights == theirs["assistant_masks"]
    assert 0 < sum(weights) < len(weights)


def test_a_template_that_works_on_its_own_generation_blocks_is_refused() -> None:
    captured = (
        "{% set answer %}{% generation %} {{ messages[1].content }}{% endgeneration %}{% endset %}{{ answer | trim }}"
    )
    with pytest.raises(TextError, match="generation blocks of the chat template cannot be followed"):
        encode(captured, TALK)
    with pytest.raises(TextError, match="generation blocks of the chat template are empty"):
        encode("{% if messages|length > 9 %}{% generation %}x{% endgeneration %}{% endif %}y", TALK)


# -- what is refused, and where it stands --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("messages", "named"),
    [
        ([user("a"), {"role": "assistant"}], r"messages\[1\] has no content"),
        ([user("a"), user("b"), assistant("c")], "roles must alternate"),
        ([user("a"), assistant("\ud800")], "surrogate"),
        ([user("\ufdd1"), assistant("c")], r"U\+FDD1"),
    ],
)
def test_a_conversation_that_cannot_be_written_is_named(messages: Messages, named: str) -> None:
    with pytest.raises(TextError, match=rf"^chat\.jsonl:7: .*{named}"):
        encode(TEMPLATES["Llama 2"], messages)


def test_a_faulty_template_is_no_fault_of_the_conversation() -> None:
    with pytest.raises(ModelFileError, match="the chat template"):
        encode("{{ nothing.at.all }}", TALK)


CALL = {"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": {"city": "서울"}}}
CALLING = [user("서울 날씨?"), {"role": "assistant", "content": None, "tool_calls": [CALL]}, assistant("맑아.")]


@pytest.mark.parametrize("content", [None, ""])
def test_a_call_of_a_tool_that_the_template_does_not_write_names_its_row(tmp_path: Path, content: str | None) -> None:
    talk = [CALLING[0], {**CALLING[1], "content": content}, CALLING[2]]
    path = tmp_path / "calls.jsonl"
    path.write_text("\n".join(json.dumps({"messages": one}) for one in (TALK, talk)), encoding="utf-8")
    template = TrainingTemplate(CHATML, BPE)
    first, second = read_conversations(read_records([path]))
    template.encode_conversation(first)
    with pytest.raises(TextError) as caught:
        template.encode_conversation(second)
    assert caught.value.message.startswith(f"{path}:2: messages[1] calls ")  # written as nothing, it would be learned


def test_a_call_of_a_tool_is_learned_where_the_template_writes_it() -> None:
    assert any("get_weather" in text for text in learned(LLAMA3, CALLING[:2]))
    korean: dict[str, Any] = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"function": {"name": "날씨", "arguments": {}}}],
    }
    for escaped, written in (("true", r"\ub0a0\uc528"), ("false", "날씨")):
        call = f"(message.tool_calls[0].function | tojson(ensure_ascii={escaped}) if message.tool_calls else '')"
        template = CHATML.replace("message['content']", f"message['content'] + {call}")
        assert any(written in text for text in learned(template, [user("서울?"), korean]))


def test_a_template_that_fails_on_a_call_names_the_row() -> None:
    with pytest.raises(
        TextError, match=r"^chat\.jsonl:7: messages\[1\] calls a tool, on which the chat template fails"
    ):
        encode("{% for m in messages %}{{ m.role + m.content }}{% endfor %}", CALLING)
    for calls in (["x"], "x", 5, True, {"name": "f"}, [None]):  # whatever a file may hold
        with pytest.raises(TextError, match=r"^chat\.jsonl:7: messages\[1\]\.tool_calls should be calls"):
            encode(CHATML, [user("a"), {"role": "assistant", "content": None, "tool_calls": calls}])


def test_conversations_of_both_layouts_are_read() -> None:
    tools = [{"type": "function"}]
    rows: list[dict[str, Any]] = [
        {"id": 3, "messages": TALK[:2]},
        {"messages": [user("a"), {**assistant("b"), "weight": 0}, user("c"), {**assistant("d"), "weight": 1}]},
        {
            "conversations": [
                {"from": "system", "value": "s"},
                {"from": "human", "value": "q"},
                {"from": "gpt", "value": "a"},
            ]
        },
        {"messages": TALK[:2], "tools": tools},
    ]
    found = list(read_conversations((f"c.jsonl:{i}", row) for i, row in enumerate(rows, 1)))
    assert [conversation.name for conversation in found] == [f"c.jsonl:{i}" for i in range(1, 5)]
    assert list(found[0].messages) == TALK[:2]
    assert found[1].masked == {1}
    assert found[1].messages[1] == assistant("b")
    assert list(found[2].messages) == [{"role": "system", "content": "s"}, user("q"), assistant("a")]
    assert found[3].variables == {"tools": tools}
    assert rows[1]["messages"][1]["weight"] == 0  # what was handed in stays


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ({"prompt": "a", "completion": "b"}, "there are no messages; the fields are 'prompt', 'completion'"),
        ({}, "there are no messages; the fields are none"),
        ({"messages": "hello"}, "messages should be a list"),
        ({"messages": []}, "messages should be a list with at least one"),
        ({"messages": ["hello"]}, r"messages\[0\] should be an object, found str"),
        ({"messages": [user("a")]}, "there is no answer to learn from"),
        ({"messages": [user("a"), {**assistant("b"), "weight": 0}]}, "there is no answer to learn from"),
        ({"messages": [user("a"), {**assistant("b"), "weight": 0.5}]}, r"messages\[1\].weight is 0.5"),
        ({"conversations": [{"from": "bard", "value": "x"}]}, r"conversations\[0\].from is 'bard'"),
    ],
)
def test_rows_that_are_no_conversation_are_named_with_their_place(row: dict[str, Any], named: str) -> None:
    with pytest.raises(TextError, match=rf"^data/chat\.jsonl:12: {named}") as caught:
        list(read_conversations([("data/chat.jsonl:12", row)]))
    assert caught.value.hint


def test_from_a_file_to_weighted_tokens(tmp_path: Path) -> None:
    lines = [json.dumps({"messages": TALK}, ensure_ascii=False), json.dumps({"messages": [user("네?")]})]
    (tmp_path / "chat.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = read_conversations(read_records([tmp_path / "chat.jsonl"]))
    ids, weights = TrainingTemplate(LLAMA3, BPE).encode_conversation(next(found))
    assert sum(weights) == len(BPE.encode("네 🙂👨‍👩‍👧")) + 1 + len(BPE.encode("fine, fine")) + 1
    assert len(ids) == len(weights)
    with pytest.raises(TextError, match=r"chat\.jsonl:2: there is no answer to learn from"):
        next(found)
