"""Chat templates that write the same text as the families' own, without tools and images."""

from __future__ import annotations

from dria_magpie.engines.prompts.template import ChatTemplate
from tests.integration.templates import TEMPLATES as REFUSING

_CHATML_BODY = (
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
)
_CHATML_END = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
_CHATML = "{% for message in messages %}" + _CHATML_BODY + "{% endfor %}" + _CHATML_END


def _with_default(words: str) -> str:
    default = (
        "{% if loop.first and message['role'] != 'system' %}"
        "{{ '<|im_start|>system\n" + words + "<|im_end|>\n' }}{% endif %}"
    )
    return "{% for message in messages %}" + default + _CHATML_BODY + "{% endfor %}" + _CHATML_END


_LLAMA_3_TURNS = (
    "{% for m in turns %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n'"
    " + m['content'] | trim + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
_LLAMA_3 = "{% set turns = messages %}{{ bos_token }}" + _LLAMA_3_TURNS
_LLAMA_31 = """\
{{- bos_token }}
{%- set date_string = DATE %}
{%- if messages[0]['role'] == 'system' %}
    {%- set words = messages[0]['content'] | trim %}{%- set messages = messages[1:] %}
{%- else %}
    {%- set words = "" %}
{%- endif %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\nCutting Knowledge Date: December 2023\\n' }}
{{- 'Today Date: ' + date_string + '\\n\\n' + words + '<|eot_id|>' }}
{%- set turns = messages %}"""
_QWEN_3 = """\
{%- if messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(looking=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- if ns.looking and message.role == 'user' %}
        {%- set ns.looking = false %}
        {%- set ns.last_query_index = messages|length - 1 - loop.index0 %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role == 'user' %}
        {{- '<|im_start|>user\\n' + message.content + '<|im_end|>\\n' }}
    {%- elif message.role == 'assistant' %}
        {%- set content = message.content.split('</think>')[-1].lstrip('\\n') %}
        {%- set thought = '' %}
        {%- if '</think>' in message.content %}
            {%- set thought = message.content.split('</think>')[0].split('<think>')[-1] %}
        {%- endif %}
        {{- '<|im_start|>assistant\\n' }}
        {%- if loop.index0 > ns.last_query_index %}
            {{- '<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' }}
        {%- endif %}
        {{- content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""
_YI = (
    "{% if messages[0]['role'] == 'system' %}{% set system_message = messages[0]['content'] %}"
    "{% endif %}{% if system_message is defined %}{{ system_message }}{% endif %}"
    "{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '<|im_start|>user\n' + message['content'] + '<|im_end|>\n<|im_start|>assistant\n' }}"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] + '<|im_end|>' + '\n' }}"
    "{% endif %}{% endfor %}"
)
_GEMMA_3 = """\
{{ bos_token }}
{%- set first_user_prefix = '' -%}
{%- set turns = messages -%}
{%- if messages[0]['role'] == 'system' -%}
    {%- set first_user_prefix = messages[0]['content'] + '\\n\\n' -%}
    {%- set turns = messages[1:] -%}
{%- endif -%}
{%- for message in turns -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
    {%- endif -%}
    {%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
    {{ '<start_of_turn>' + role + '\\n' + (first_user_prefix if loop.first else '') }}
    {{- message['content'] | trim + '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<start_of_turn>model\\n' }}{%- endif -%}
"""
_PHI_3 = (
    "{% for message in messages %}{% if message['role'] == 'system' and message['content'] %}"
    "{{ '<|system|>\n' + message['content'] + '<|end|>\n' }}{% elif message['role'] == 'user' %}"
    "{{ '<|user|>\n' + message['content'] + '<|end|>\n' }}{% elif message['role'] == 'assistant' %}"
    "{{ '<|assistant|>\n' + message['content'] + '<|end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
_PHI_3_SMALL = (
    "{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>' + '\n'"
    " + message['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
PHI_3_WITHOUT_SYSTEM = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '<|user|>' + '\n' + message['content'] + '<|end|>' + '\n' + '<|assistant|>' + '\n' }}"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] + '<|end|>' + '\n' }}"
    "{% endif %}{% endfor %}"
)
_LLAMA_2 = (
    "{% set words = '' %}{% set turns = messages %}{% if messages[0]['role'] == 'system' %}"
    "{% set turns = messages[1:] %}"
    "{% set words = '<<SYS>>\n' + messages[0]['content'] + '\n<</SYS>>\n\n' %}{% endif %}"
    "{% for m in turns %}{% set content = (words if loop.first else '') + m['content'] %}"
    "{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
_VICUNA = (
    "{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] + ' ' }}{% else %}"
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user's questions. {% endif %}"
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ 'USER: ' + m['content'] + ' ' }}"
    "{% elif m['role'] == 'assistant' %}{{ 'ASSISTANT: ' + m['content'] + eos_token }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
_DEEPSEEK = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ 'User: ' + message['content'] + '\n\n' }}{% elif message['role'] == 'assistant' %}"
    "{{ 'Assistant: ' + message['content'] + eos_token }}{% elif message['role'] == 'system' %}"
    "{{ message['content'] + '\n\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
_MISTRAL_1 = REFUSING["mistral-7b-instruct-v0.2"].replace("+ eos_token}}", "+ eos_token + ' ' }}")
_QWEN_15 = _with_default("You are a helpful assistant").replace(
    "+ '<|im_end|>' + '\n' }}",
    "}}{% if not loop.last or add_generation_prompt %}{{ '<|im_end|>' + '\n' }}{% endif %}",
)
_BEGIN, _END = "<\uff5cbegin▁of▁sentence\uff5c>", "<\uff5cend▁of▁sentence\uff5c>"
_LLAMA_TOKENS = ("<|begin_of_text|>", "<|eot_id|>")

TEMPLATES = {
    name: ChatTemplate(text, *tokens, origin=name)
    for name, text, *tokens in [
        ("llama-3", _LLAMA_3, *_LLAMA_TOKENS),
        ("llama-3.1", _LLAMA_31.replace("DATE", '"26 Jul 2024"') + _LLAMA_3_TURNS, *_LLAMA_TOKENS),
        (
            "llama-3.2",
            _LLAMA_31.replace("DATE", 'strftime_now("%d %b %Y")') + _LLAMA_3_TURNS,
            *_LLAMA_TOKENS,
        ),
        ("chatml", _CHATML, "", "<|im_end|>"),
        (
            "smollm2",
            _with_default("You are a helpful AI assistant named SmolLM, trained by Hugging Face"),
            "<|im_start|>",
            "<|im_end|>",
        ),
        ("qwen-1.5", _QWEN_15, "", "<|im_end|>"),
        ("qwen-2", _with_default("You are a helpful assistant."), "", "<|im_end|>"),
        (
            "qwen-2.5",
            _with_default("You are Qwen, created by Alibaba Cloud. You are a helpful assistant."),
            "",
            "<|im_end|>",
        ),
        ("qwen-3", _QWEN_3, "", "<|im_end|>"),
        ("yi-1.5", _YI, "<|startoftext|>", "<|im_end|>"),
        ("gemma-2", REFUSING["gemma-2-it"], "<bos>", "<eos>"),
        ("gemma-3", _GEMMA_3, "<bos>", "<eos>"),
        ("phi-3", _PHI_3, "<s>", "<|endoftext|>"),
        ("phi-3-small", _PHI_3_SMALL, "<|endoftext|>", "<|endoftext|>"),
        ("llama-2", _LLAMA_2, "<s>", "</s>"),
        ("mistral-7b-v0.1", _MISTRAL_1, "<s>", "</s>"),
        ("mistral-7b-v0.2", REFUSING["mistral-7b-instruct-v0.2"], "<s>", "</s>"),
        ("mistral-7b-v0.3", REFUSING["mistral-7b-instruct-v0.3"], "<s>", "</s>"),
        ("vicuna", _VICUNA, "<s>", "</s>"),
        ("deepseek-coder-v2", _DEEPSEEK, _BEGIN, _END),
    ]
}
