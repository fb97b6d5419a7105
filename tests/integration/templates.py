"""Chat templates of models that refuse the role ``system``, and what an endpoint does with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from dria_magpie.models import Message

TEMPLATES = {
    "gemma-2-it": (
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
        "{{ raise_exception('System role not supported') }}{% endif %}"
        "{% for message in messages %}"
        "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...')"
        " }}{% endif %}"
        "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}"
        "{% else %}{% set role = message['role'] %}{% endif %}"
        "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"
    ),
    "mistral-7b-instruct-v0.2": (
        "{{ bos_token }}{% for message in messages %}"
        "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...')"
        " }}{% endif %}"
        "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
        "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token}}"
        "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}"
        "{% endif %}{% endfor %}"
    ),
    # Without its branches for tools
    "mistral-7b-instruct-v0.3": (
        '{%- if messages[0]["role"] == "system" %}'
        '{%- set system_message = messages[0]["content"] %}{%- set loop_messages = messages[1:] %}'
        "{%- else %}{%- set loop_messages = messages %}{%- endif %}"
        "{%- for message in loop_messages %}"
        '{%- if (message["role"] == "user") != (loop.index0 % 2 == 0) %}'
        '{{- raise_exception("After the optional system message, conversation roles must alternate'
        ' user/assistant/user/assistant/...") }}{%- endif %}{%- endfor %}'
        "{{- bos_token }}{%- for message in loop_messages %}"
        '{%- if message["role"] == "user" %}'
        "{%- if loop.last and system_message is defined %}"
        '{{- "[INST] " + system_message + "\n\n" + message["content"] + "[/INST]" }}'
        '{%- else %}{{- "[INST] " + message["content"] + "[/INST]" }}{%- endif %}'
        '{%- elif message["role"] == "assistant" %}'
        '{{- " " + message["content"]|trim + eos_token}}'
        '{%- else %}{{- raise_exception("Only user and assistant roles are supported, with the'
        ' exception of an initial optional system message!") }}{%- endif %}{%- endfor %}'
    ),
}


def render(name: str, messages: Sequence[Message]) -> str:
    """Render a prompt as an endpoint does; raises `jinja2.TemplateError` where a template does."""

    def raise_exception(words: str) -> Any:
        raise jinja2.TemplateError(words)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = raise_exception
    return environment.from_string(TEMPLATES[name]).render(
        messages=[{"role": m.role, "content": m.content} for m in messages],
        bos_token="<s>",
        eos_token="</s>",
        add_generation_prompt=True,
    )
