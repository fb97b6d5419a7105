from __future__ import annotations

import time

import pytest

from dria_magpie.engines.prompts.cross_check import check_against_family
from dria_magpie.engines.prompts.pre_query import render_open_user_turn, without_bos
from dria_magpie.engines.prompts.table import FAMILIES
from dria_magpie.engines.prompts.template import ChatTemplate
from dria_magpie.engines.prompts.wrapping import least_wrapping
from dria_magpie.engines.raw.route import RawRoute
from dria_magpie.engines.raw.writer import RawWriter
from dria_magpie.errors import EngineError, InvalidInputError, UnsupportedError
from dria_magpie.models import Message
from tests.unit.chat_templates import PHI_3_WITHOUT_SYSTEM, TEMPLATES
from tests.unit.raw_prompts import MISTRAL_WITH_SYSTEM, WITH_SYSTEM, WITHOUT_SYSTEM, prompt

SYSTEM, OPEN = Message("system", "Be brief."), Message("user", "")
HI, YES = Message("user", "Hi"), Message("assistant", "Yes?")
TURNS = {
    1: [OPEN],
    2: [HI, YES, OPEN],
    3: [HI, YES, Message("user", "Oh"), Message("assistant", "Ah"), OPEN],
}
TABLE = {family.name: family for family in FAMILIES}
WITHOUT_ROLE = ["gemma-2", "mistral-7b-v0.1", "mistral-7b-v0.2"]
BEGIN = "<\uff5cbegin▁of▁sentence\uff5c>"


def template(text, bos="<s>", eos="</s>"):
    return ChatTemplate.from_jinja(text, bos, eos)


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("name", WITHOUT_SYSTEM)
def test_table_and_template_give_the_familys_prompt(name, turn):
    expected = prompt(WITHOUT_SYSTEM[name], turn)
    assert render_open_user_turn(TURNS[turn], TABLE[name]).text == expected
    if name in TEMPLATES:
        assert render_open_user_turn(TURNS[turn], TEMPLATES[name]).text == expected


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("name", WITH_SYSTEM)
def test_a_system_prompt_is_where_the_family_has_it(name, turn):
    expected, messages = prompt(WITH_SYSTEM[name], turn), [SYSTEM, *TURNS[turn]]
    assert render_open_user_turn(messages, TABLE[name]).text == expected
    if name in TEMPLATES:
        assert render_open_user_turn(messages, TEMPLATES[name]).text == expected


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("source", [TABLE, TEMPLATES])
def test_mistral_moves_the_system_prompt_to_the_turn_that_is_open(turn, source):
    raw = render_open_user_turn([SYSTEM, *TURNS[turn]], source["mistral-7b-v0.3"])
    assert raw.text == MISTRAL_WITH_SYSTEM[turn - 1]


def test_the_date_in_llama_32_is_fixed():
    raw = render_open_user_turn([OPEN], TEMPLATES["llama-3.2"])
    assert raw.text == prompt(WITHOUT_SYSTEM["llama-3.1"], 1)


@pytest.mark.parametrize(
    "source", [*map(TABLE.get, WITHOUT_ROLE), *map(TEMPLATES.get, WITHOUT_ROLE)]
)
def test_where_there_is_no_system_prompt_the_error_says_what_to_do(source):
    with pytest.raises(UnsupportedError, match="leave the system prompt out"):
        render_open_user_turn([SYSTEM, HI, YES, OPEN], source)


def test_a_template_that_drops_the_system_prompt_is_found_out():
    source = template(PHI_3_WITHOUT_SYSTEM)
    assert render_open_user_turn(TURNS[2], source).text == (
        "<s><|user|>\nHi<|end|>\n<|assistant|>\nYes?<|end|>\n<|user|>\n"
    )
    with pytest.raises(UnsupportedError, match="leaves the system prompt out; leave"):
        render_open_user_turn([SYSTEM, OPEN], source)


@pytest.mark.parametrize(
    ("name", "stop"),
    [
        ("llama-3", "<|eot_id|> <|start_header_id|> <|end_header_id|> <|end_of_text|>"),
        ("qwen-2.5", "<|im_end|> <|im_start|> <|endoftext|>"),
        ("gemma-2", "<end_of_turn> <start_of_turn> <eos> <bos>"),
        ("phi-3", "<|end|> <|assistant|> <|endoftext|> <|user|> <|system|>"),
        ("llama-2", "[/INST] </s> [INST] <s>"),
    ],
)
def test_stops_are_what_follows_a_users_message_then_eos_then_the_familys(name, stop):
    assert render_open_user_turn(TURNS[2], TEMPLATES[name]).stop == tuple(stop.split())
    assert set(render_open_user_turn(TURNS[2], TABLE[name]).stop) == set(stop.split())


def test_where_no_special_token_ends_a_message_the_words_after_it_do():
    assert render_open_user_turn([OPEN], TEMPLATES["deepseek-coder-v2"]).stop[0] == (
        "\n\nAssistant:"
    )
    assert render_open_user_turn([OPEN], TEMPLATES["vicuna"]).stop[0] == " ASSISTANT:"
    assert render_open_user_turn([OPEN], template("{{ messages[0].content }}")).stop == ("</s>",)


@pytest.mark.parametrize("name", [*TEMPLATES])
@pytest.mark.parametrize("turn", TURNS)
def test_the_prompt_begins_the_conversation_in_which_the_user_has_spoken(name, turn):
    raw = render_open_user_turn(TURNS[turn], TEMPLATES[name])
    spoken = [*TURNS[turn][:-1], Message("user", "And then?")]
    whole = TEMPLATES[name].render(spoken, add_generation_prompt=True)
    assert whole.startswith(raw.text + "And then?")
    assert raw.note == ""


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize(
    ("name", "bos"), [("llama-3", "<|begin_of_text|>"), ("gemma-3", "<bos>"), ("phi-3-small", None)]
)
def test_there_is_one_beginning_and_no_answer_but_those_of_the_history(name, bos, turn):
    raw = render_open_user_turn([SYSTEM, *TURNS[turn]], TEMPLATES[name])
    bos = bos or "<|endoftext|>"
    assert raw.text.count(raw.bos) == 1
    assert raw.bos == bos
    header = {"gemma-3": "<start_of_turn>model", "phi-3-small": "<|assistant|>"}.get(
        name, "<|start_header_id|>assistant"
    )
    assert raw.text.count(header) == turn - 1


def test_thoughts_of_earlier_turns_are_left_out_as_in_a_conversation_that_goes_on():
    thought = Message("assistant", "<think>\nHm.\n</think>\n\nYes?")
    raw = render_open_user_turn([HI, thought, OPEN], TEMPLATES["qwen-3"])
    assert raw.text == prompt(WITHOUT_SYSTEM["qwen-3"], 2)


def test_a_template_that_writes_history_in_two_ways_is_noted():
    text = "{% if add_generation_prompt %}! {% endif %}{{ messages[-1].content }}"
    assert "another way" in render_open_user_turn([OPEN], template(text)).note


@pytest.mark.parametrize("case", ["lower", "title", "capitalize"])
def test_a_template_that_changes_the_case_of_messages_is_no_hindrance(case):
    raw = render_open_user_turn([OPEN], template(f"U: {{{{ messages[-1].content|{case} }}}};"))
    assert raw.text == "U: "


@pytest.mark.parametrize(
    "text",
    ["nothing", "{{ messages[-1].content * 2 }}", "{{ messages[-1].content|reverse|list }}"],
)
def test_a_template_that_does_not_write_the_message_as_it_is_cannot_be_cut(text):
    with pytest.raises(UnsupportedError, match="once and as it is"):
        render_open_user_turn([OPEN], template(text))


@pytest.mark.parametrize(
    "text",
    [
        "{# openturnqx" + "x" * 300_000 + " #}[{{ messages[-1].content }}]",
        "{{ bos_token * 1000 * 300 }}[{{ messages[-1].content }}]",
    ],
)
def test_what_is_made_of_a_template_takes_no_time(text):
    began = time.monotonic()
    assert without_bos(render_open_user_turn([OPEN], template(text))).text == "["
    assert time.monotonic() - began < 2


def test_words_of_the_conversation_are_not_taken_for_the_open_message():
    messages = [Message("user", "OPENTURNQX openturnqx"), YES, OPEN]
    raw = render_open_user_turn(messages, TEMPLATES["chatml"])
    assert raw.text.endswith("Yes?<|im_end|>\n<|im_start|>user\n")


@pytest.mark.parametrize(
    "text",
    [
        "{{ bos_token }}{{ bos_token }}[{{ messages[-1].content }}]",
        "{{ bos_token }}<s>[{{ messages[-1].content }}]",
        "<s>[{{ messages[-1].content }}]",
    ],
)
def test_one_beginning_is_left_of_several(text):
    raw = render_open_user_turn([OPEN], template(text))
    assert (raw.text, raw.bos) == ("<s>[", "<s>")
    assert without_bos(raw).text == "["
    assert without_bos(without_bos(raw)) == without_bos(raw)


def test_the_beginning_is_found_in_a_template_that_demands_a_system_prompt():
    text = (
        "{% if messages[0].role != 'system' %}{{ raise_exception('system first') }}{% endif %}"
        "{{ bos_token }}{{ messages[0].content }}[{{ messages[-1].content }}]"
    )
    assert render_open_user_turn([SYSTEM, OPEN], template(text)).bos == "<s>"
    with pytest.raises(UnsupportedError, match=r"system first$"):
        render_open_user_turn([OPEN], template(text))


def test_a_template_that_begins_anew_before_the_users_turn_is_refused():
    text = (
        "{{ bos_token }}{% for m in messages %}{{ m.role + ':' + m.content }}"
        "{% if loop.last %}<s><s>{% endif %}{% endfor %}"
    )
    second = text.replace("{{ m.role", "{% if loop.last %}{{ '' }}<s>{% endif %}{{ m.role")
    assert render_open_user_turn(TURNS[2], template(text)).text == "<s>user:Hiassistant:Yes?user:"
    with pytest.raises(InvalidInputError, match="<s> 2 times"):
        render_open_user_turn(TURNS[3], template(second))


def test_an_answer_opened_before_the_users_turn_is_refused():
    text = (
        "{% for m in messages %}{% if loop.last %}<A>{% endif %}"
        "{{ '<A>' if m.role == 'assistant' else '<U>' }}{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}<A>{% endif %}"
    )
    with pytest.raises(InvalidInputError, match="opens an answer before"):
        render_open_user_turn(TURNS[2], template(text))


def test_a_system_prompt_that_is_written_twice_is_refused():
    text = "{{ messages[0].content * 2 }}{{ messages[-1].content }}"
    with pytest.raises(InvalidInputError, match="system prompt 2 times"):
        render_open_user_turn([SYSTEM, OPEN], template(text))


def test_special_tokens_in_what_was_said_are_not_counted():
    messages = [Message("user", "What is <s>?"), Message("assistant", "[A] it begins."), OPEN]
    text = "<s>{% for m in messages %}[{{ m.role[0]|upper }}] {{ m.content }}{% endfor %}"
    text += "{% if add_generation_prompt %}[A]{% endif %}"
    assert render_open_user_turn(messages, template(text)).text.endswith("begins.[U] ")


def test_a_token_that_opens_every_message_is_no_beginning():
    raw = render_open_user_turn([OPEN], TEMPLATES["smollm2"])
    assert raw.bos == ""
    assert without_bos(raw) == raw


INST = (
    "{% for m in messages %}{% if m.role == 'user' %}<s>[INST] {{ m.content }} [/INST]"
    "{% else %} {{ m.content }} </s>{% endif %}{% endfor %}"
)
# As Hunyuan's
EXCHANGES = INST.replace("<s>[INST] ", "<|startoftext|>").replace(" [/INST]", "<|extra_0|>")


@pytest.mark.parametrize("tokens", [("<s>", "</s>"), ("", "")], ids=["known", "unknown"])
@pytest.mark.parametrize("begun", [1, 2, 3])
def test_a_beginning_that_is_written_out_before_each_exchange_is_sent_once(tokens, begun):
    source = template(INST, *tokens)
    whole = render_open_user_turn(TURNS[begun], source)
    assert whole.text.count("<s>") == begun
    assert RawWriter(RawRoute("x"), source, adds_bos=False).write(TURNS[begun]) == whole
    text = RawWriter(RawRoute("x"), source, adds_bos=True).write(TURNS[begun]).text
    assert "<s>" + text == whole.text
    assert text.startswith("[INST] ")


@pytest.mark.parametrize(
    ("text", "bos", "expected"),
    [
        (EXCHANGES, "<|startoftext|>", ""),
        (EXCHANGES, "", ""),
        ("[gMASK]<sop><|user|>\n{{ messages[-1].content }}<|assistant|>", "", "<|user|>\n"),
        (f"{BEGIN}U: {{{{ messages[-1].content }}}}", "", "U: "),
        ("<|begin_of_text|>{{ messages[-1].content }}<|eot_id|>", "", ""),
        # None of these begins a prompt alone
        ("<|user|>\n{{ messages[-1].content }}<|end|>", "", "<|user|>\n"),
        ("<|im_start|>user\n{{ messages[-1].content }}", "", "<|im_start|>user\n"),
    ],
)
def test_a_beginning_that_is_written_out_is_left_to_the_server(text, bos, expected):
    writer = RawWriter(RawRoute("x"), template(text, bos), adds_bos=True)
    assert writer.write([OPEN]).text == expected


THINKS = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}<U>{{ m.content }}{% else %}"
    "<A>{{ m.content.split('</think>')[-1] }}</s>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<A>{% endif %}"
)


@pytest.mark.parametrize("quote", ["<s></think>x", "<A></think>x", "<s><s></think>x", "<s>"])
def test_tokens_that_are_quoted_where_the_template_drops_them_do_no_harm(quote):
    messages = [HI, Message("assistant", quote), OPEN]
    answer = quote.split("</think>")[-1]
    text = RawWriter(RawRoute("x"), template(THINKS), adds_bos=False).write(messages).text
    assert text == f"<s><U>Hi<A>{answer}</s><U>"


def test_words_that_a_template_does_not_take_are_the_fault_of_their_row_alone():
    text = (
        "{% for m in messages %}{% if 'bad' in m.content %}{{ raise_exception('bad words') }}"
        "{% endif %}{{ m.content }}{% endfor %}"
    )
    writer = RawWriter(RawRoute("x"), template(text), adds_bos=False)
    with pytest.raises(EngineError, match="bad words") as caught:
        writer.write([Message("user", "bad"), YES, OPEN])
    assert not isinstance(caught.value, UnsupportedError)
    assert writer.write([HI, YES, OPEN]).text == "HiYes?"
    with pytest.raises(UnsupportedError, match="refuses"):
        RawWriter(RawRoute("x"), TEMPLATES["gemma-2"], adds_bos=False).write([SYSTEM, OPEN])


def test_what_opens_turns_ends_a_message_where_the_family_is_not_known():
    text = (
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}[SYSTEM_PROMPT]"
        "{{ m.content }}[/SYSTEM_PROMPT]{% elif m.role == 'user' %}[|user|]{{ m.content }}\n"
        "{% else %}[|assistant|]{{ m.content }}[|endofturn|]\n{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}[|assistant|]{% endif %}"
    )
    assert render_open_user_turn([OPEN], template(text, eos="[|endofturn|]")).stop == (
        "[|assistant|]",
        "[|endofturn|]",
        "[SYSTEM_PROMPT]",
        "[/SYSTEM_PROMPT]",
        "[|user|]",
    )


@pytest.mark.parametrize(
    ("style", "tokens"),
    [
        (TABLE["mistral-7b-v0.3"], 3),
        (TEMPLATES["mistral-7b-v0.3"], 3),
        (TABLE["llama-3"], 10),
        (TEMPLATES["llama-3"], 10),
        (template("<user>{{ messages[-1].content }}<assistant>"), 2),
        (template("{{ raise_exception('no') }}"), 3),
    ],
)
def test_the_fewest_tokens_around_a_message(style, tokens):
    assert least_wrapping(style) == tokens


def test_a_template_that_refuses_the_history_is_told_of_in_its_own_words():
    with pytest.raises(UnsupportedError, match=r"roles must alternate user/assistant/user/[^;]*$"):
        render_open_user_turn([HI, OPEN], TEMPLATES["gemma-2"])
    with pytest.raises(UnsupportedError, match=r"roles must alternate[^;]*$"):
        render_open_user_turn([SYSTEM, HI, OPEN], TEMPLATES["gemma-3"])


@pytest.mark.parametrize("messages", [[HI, OPEN], [YES, OPEN], [SYSTEM, SYSTEM, OPEN]])
def test_the_table_knows_conversations_that_alternate(messages):
    with pytest.raises(UnsupportedError, match="give the model's own chat template"):
        render_open_user_turn(messages, TABLE["chatml"])


def test_blanks_go_where_the_families_own_templates_take_them_off():
    messages = [Message("system", " Be. "), Message("user", " Hi\n"), Message("assistant", " A ")]
    for name in ("llama-3", "llama-3.1", "chatml", "phi-3", "gemma-3", "deepseek-coder-v2"):
        table, own = (
            render_open_user_turn([*messages, OPEN], source[name]) for source in (TABLE, TEMPLATES)
        )
        assert table.text == own.text


@pytest.mark.parametrize("messages", [[], [HI], [SYSTEM], [HI, Message("assistant", "")]])
def test_the_last_message_must_be_open(messages):
    with pytest.raises(InvalidInputError, match="empty user message"):
        render_open_user_turn(messages, TABLE["chatml"])


def test_without_template_and_family_the_error_says_what_to_give():
    with pytest.raises(UnsupportedError, match=r"tokenizer_config\.json, of its \.gguf file, or"):
        render_open_user_turn([OPEN], None)


@pytest.mark.parametrize("name", [*TEMPLATES])
def test_a_template_agrees_with_its_own_family(name):
    family = TABLE[name.replace("llama-3.2", "llama-3.1")]
    for messages in (TURNS[1], TURNS[3]):
        check = check_against_family(render_open_user_turn(messages, TEMPLATES[name]), family)
        assert check.agrees, check.reason
    raw = render_open_user_turn(TURNS[2], family)
    assert check_against_family(raw, family).agrees


@pytest.mark.parametrize(
    ("name", "family", "reason"),
    [
        ("qwen-2.5", "llama-3", "begins with no token, not with <|begin_of_text|>"),
        ("gemma-2", "chatml", "begins with <bos>, not with no token"),
        ("qwen-2.5", "phi-3", r"ends with 'rt|>user\n', not with '<|user|>\n'"),
        ("mistral-7b-v0.2", "llama-2", ""),
    ],
)
def test_a_template_of_another_family_is_told(name, family, reason):
    check = check_against_family(render_open_user_turn([OPEN], TEMPLATES[name]), TABLE[family])
    assert check.agrees is not bool(reason)
    assert reason in check.reason


def test_another_end_of_the_users_message_is_told():
    source = template("{{ '<|im_start|>user\n' + messages[-1].content }}<end>", bos="")
    check = check_against_family(render_open_user_turn([OPEN], source), TABLE["chatml"])
    assert "is not ended by '<|im_end|>" in check.reason
