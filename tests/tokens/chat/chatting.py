# ruff: noqa: E501  (the templates have lines as long as those of published ones)
"""Chat templates in the shapes that published models have, tokenizers for them, and transformers as the oracle."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as RawTokenizer
from transformers import PreTrainedTokenizerFast

from nextword import Tokenizer
from nextword.tokens.chat import ChatTemplate
from tests.tokens.conftest import CORPUS

CHATML = """{%- if messages[0]['role'] != 'system' -%}
{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' -}}
{%- endif -%}
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""

LLAMA2 = """{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}
{%- else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}
{%- for message in loop_messages %}
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate user/assistant') }}{% endif %}
{%- if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}
{%- else %}{% set content = message['content'] %}{% endif %}
{%- if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}
{%- elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}
{%- endfor %}"""

LLAMA3 = """{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}{%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}{%- set date_string = "26 Jul 2024" %}{%- endif %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}{{- "Environment: ipython\\n" }}
    {%- for t in tools %}{{- t | tojson(indent=4) }}{{- "\\n\\n" }}{%- endfor %}
{%- endif %}
{{- "Today Date: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
        {%- for name, value in tool_call.arguments.items() %}
            {{- name + '="' + value + '"' }}{% if not loop.last %}, {% endif %}
        {%- endfor %}
        {{- '{"name": "' + tool_call.name + '", "parameters": ' }}{{- tool_call.arguments | tojson }}{{- "}<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

QWEN3 = """{%- if tools %}
    {{- '<|im_start|>system\\n# Tools\\n<tools>' }}
    {%- for tool in tools %}{{- "\\n" }}{{- tool | tojson }}{%- endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}{%- set content = message.content %}{%- else %}{%- set content = '' %}{%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index and (loop.last or (not loop.last and reasoning_content)) %}
            {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\\n<tool_response>\\n' }}{{- content }}{{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}{{- '<|im_end|>\\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}"""

MISTRAL = """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace() %}
{%- set ns.index = 0 %}
{%- for message in loop_messages %}
    {%- if not (message.role == "tool" or message.tool_calls is defined) %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("After the optional system message, conversation roles must alternate user/assistant/user/assistant/...") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token}}
    {%- else %}
        {{- raise_exception("Only user and assistant roles are supported, with the exception of an initial optional system message!") }}
    {%- endif %}
{%- endfor %}
"""

ZEPHYR = """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>
' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>
' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>
'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}"""

GEMMA = """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- set first_user_prefix = messages[0]['content'] + '\n\n' -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'assistant') -%}{%- set role = "model" -%}{%- else -%}{%- set role = message['role'] -%}{%- endif -%}
    {{ '<start_of_turn>' + role + '\n' + (first_user_prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}{%- if item['type'] == 'text' -%}{{ item['text'] | trim }}{%- endif -%}{%- endfor -%}
    {%- else -%}
        {{ raise_exception("Invalid content type") }}
    {%- endif -%}
    {{ '<end_of_turn>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<start_of_turn>model\n' }}{%- endif -%}"""

PHI = """{% for message in messages %}{{ '<|' ~ message['role'] ~ '|>' ~ message['content'] ~ '<|end|>' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}"""

TRAINING = """{% macro turn(message) %}<|im_start|>{{ message.role | upper }}
{{ caller() if caller is defined else message.content }}<|im_end|>
{% endmacro %}
{% for message in messages if message.role != 'system' %}
{% if message.role == 'assistant' %}
<|im_start|>ASSISTANT
{% generation %}{{ message.content }}<|im_end|>{% endgeneration %}

{% continue %}
{% endif %}
{{ turn(message) }}
{%- if loop.index > 40 %}{% break %}{% endif %}
{% endfor %}
{% set roles = messages | map(attribute='role') | unique | list %}
{{ roles | join(', ') }} {{ roles | length }} {{ '%s:%03d' % (roles[0], 7) }} {{ "%.2f" | format(0.5) }}
{% filter upper %}{% call turn({'role': 'x'}) %}inner{% endcall %}{% endfilter %}
{{ {'b': [1, 2.5, none, true], 'a': '가'} | tojson(sort_keys=true, separators=(',', ':')) }}
{{ cycler('a', 'b').next() }} {{ [3, 1, 2] | sort | reverse | list }} {{ 7 // 2 }} {{ 2 ** 10 }} {{ -3 | abs }} {{ 'x' in 'xy' }}"""

TEMPLATES = {
    "ChatML": CHATML,
    "Llama 2": LLAMA2,
    "Llama 3": LLAMA3,
    "Qwen3": QWEN3,
    "Mistral": MISTRAL,
    "Zephyr": ZEPHYR,
    "Gemma": GEMMA,
    "Phi": PHI,
    "every construct": TRAINING,
}

SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>"]
SPECIAL += ["<|eot_id|>", "[INST]", "[/INST]", "<|user|>", "<|system|>", "<|assistant|>", "<|end|>"]
SPECIAL += ["<start_of_turn>", "<end_of_turn>"]
NOT_SPECIAL = ["<think>", "</think>", "<tool_response>", "</tool_response>"]


def _add(raw: RawTokenizer) -> None:
    raw.add_special_tokens([token for token in SPECIAL if token != "<|end|>"])
    raw.add_special_tokens([AddedToken("<|end|>", lstrip=True, rstrip=True, normalized=False)])
    raw.add_tokens([AddedToken(token, normalized=False) for token in NOT_SPECIAL])


def byte_level() -> Tokenizer:
    """Byte-level BPE as Qwen, Llama 3, SmolLM have it; `<|end|>` eats the blanks around it, as Phi's does."""
    raw = RawTokenizer.from_str(Tokenizer.train_bpe(CORPUS, 440, special_tokens=["<|endoftext|>"]).to_str())
    _add(raw)
    return Tokenizer(raw, bos="<s>", eos="</s>")


def sentencepiece(scheme: str) -> Tokenizer:
    """BPE over characters as Llama 2 and Mistral have it; `scheme`: how the blank before a text comes about."""
    raw = RawTokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    raw.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=["<unk>", "<s>", "</s>", *bytes_], show_progress=False, max_token_length=8
    )
    raw.train_from_iterator([" ".join(CORPUS)[:6000]], trainer)
    description = json.loads(raw.to_str())
    description["added_tokens"] = [token for token in description["added_tokens"] if token["id"] < 3]
    raw = RawTokenizer.from_str(json.dumps(description))
    if scheme == "normaliser":
        raw.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        raw.pre_tokenizer = None
    else:
        raw.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    raw.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    _add(raw)
    return Tokenizer(raw, bos="<s>", eos="</s>")


def words() -> Tokenizer:
    """Words cut at white space, two special ones among them."""
    vocabulary = ["user", "assistant", "hello", "there", "안녕", "<|im_start|>", "<|im_end|>", "system", "You", "are"]
    raw = RawTokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token=""))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    raw.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    return Tokenizer(raw, eos="<|im_end|>")


TOKENIZERS = {
    "byte-level": byte_level(),
    "Metaspace first": sentencepiece("first"),
    "Metaspace always": sentencepiece("always"),
    "blank by normaliser": sentencepiece("normaliser"),
}


def in_transformers(template: str, tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """The same template and tokenizer in transformers."""
    raw = RawTokenizer.from_str(tokenizer.to_str())
    names = {key: value for key, value in tokenizer.settings().items() if key in ("bos_token", "eos_token")}
    theirs = PreTrainedTokenizerFast(tokenizer_object=raw, clean_up_tokenization_spaces=False, **names)
    theirs.chat_template = template
    return theirs


def render_there(
    template: str, tokenizer: Tokenizer, messages: Sequence[Mapping[str, Any]], **settings: Any
) -> tuple[str, list[int]]:
    """What transformers makes of the messages: text and ids."""
    theirs = in_transformers(template, tokenizer)
    settings = {"add_generation_prompt": True, **settings}
    text = theirs.apply_chat_template(messages, tokenize=False, **settings)
    return text, theirs.apply_chat_template(messages, tokenize=True, return_dict=False, **settings)


def render_here(
    template: str, tokenizer: Tokenizer, messages: Sequence[Mapping[str, Any]], **settings: Any
) -> tuple[str, list[int]]:
    """What nextword makes of them."""
    chat = ChatTemplate(template, tokenizer)
    return chat.render(messages, **settings), chat.encode(messages, **settings)
