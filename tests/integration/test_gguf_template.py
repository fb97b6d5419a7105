from __future__ import annotations

import struct

import pytest

from dria_magpie.engines.prompts.cross_check import check_against_family
from dria_magpie.engines.prompts.families import find_family
from dria_magpie.engines.prompts.pre_query import render_open_user_turn
from dria_magpie.engines.prompts.template import ChatTemplate
from dria_magpie.engines.weights.files import find_weights
from dria_magpie.errors import InvalidInputError, UnsupportedError
from dria_magpie.models import Message
from tests.unit.raw_prompts import WITH_SYSTEM, WITHOUT_SYSTEM, prompt

SMOLLM2 = "smollm2:135m-instruct-q4_1"
HISTORY = [Message("user", "Hi"), Message("assistant", "Yes?"), Message("user", "")]


def text(data):
    return struct.pack("<Q", len(data)) + data


def texts(*data, count=None):
    return struct.pack("<IQ", 8, count or len(data)) + b"".join(map(text, data))


def gguf(*pairs, count=None):
    head = struct.pack("<4sIQQ", b"GGUF", 3, 0, count or len(pairs))
    return head + b"".join(text(key) + struct.pack("<I", kind) + data for key, kind, data in pairs)


TEMPLATE = (b"tokenizer.chat_template", 8, text(b"{{ bos_token }}[{{ messages[-1].content }}]"))
TOKENS = (b"tokenizer.ggml.tokens", 9, texts(b"<unk>", b"<s>", b"</s>"))


def number(end, value, kind=4):
    return f"tokenizer.ggml.{end}_token_id".encode(), kind, struct.pack("<i", value)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.gguf"


def test_the_embedded_model_gives_its_own_prompts():
    template = ChatTemplate.from_file(find_weights(SMOLLM2).path)
    assert (template.bos_token, template.eos_token) == ("<|im_start|>", "<|im_end|>")
    raw = render_open_user_turn(HISTORY, template)
    assert raw.text == prompt(WITHOUT_SYSTEM["smollm2"], 2)
    assert raw.stop == ("<|im_end|>", "<|im_start|>", "<|endoftext|>")
    with_system = render_open_user_turn([Message("system", "Be brief."), *HISTORY], template)
    assert with_system.text == prompt(WITH_SYSTEM["smollm2"], 2)
    assert check_against_family(raw, find_family(SMOLLM2)).agrees


def test_a_tokens_text_is_found_before_or_after_its_number(path):
    for pairs in [
        (TOKENS, number("bos", 1), number("eos", 2), TEMPLATE),
        (TEMPLATE, number("bos", 1), number("eos", 2), TOKENS),
    ]:
        path.write_bytes(gguf(*pairs))
        raw = render_open_user_turn(HISTORY, ChatTemplate.from_gguf(path))
        assert (raw.text, raw.stop) == ("<s>[", ("]", "</s>"))


@pytest.mark.parametrize(
    "pairs",
    [
        (),
        (number("bos", 1),),
        (TOKENS,),
        (TOKENS, number("bos", 9), number("eos", -1, kind=5)),
        ((b"tokenizer.ggml.tokens", 9, struct.pack("<IQ", 4, 0)), number("bos", 0)),
    ],
)
def test_special_tokens_that_are_not_stated_are_empty(path, pairs):
    path.write_bytes(gguf(TEMPLATE, *pairs))
    template = ChatTemplate.from_gguf(path)
    assert (template.bos_token, template.eos_token) == ("", "")


def test_a_file_without_a_template_is_told(path):
    path.write_bytes(gguf(TOKENS))
    with pytest.raises(UnsupportedError, match="carries no chat template; give the path"):
        ChatTemplate.from_gguf(path)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GGML" + bytes(20),
        gguf(TEMPLATE)[:-1],
        gguf(TEMPLATE, count=2),
        gguf((b"a", 99, b"")),
        gguf((b"a", 8, text(b"\xff"))),
        gguf((b"tokenizer.ggml.tokens", 9, texts(b"<s>", count=2**62))),
        gguf((b"a", 9, struct.pack("<IQ", 9, 1) * 5000)),
    ],
)
def test_a_damaged_file_is_told(path, data):
    path.write_bytes(data)
    with pytest.raises(InvalidInputError, match="is damaged"):
        ChatTemplate.from_gguf(path)


def test_the_search_for_metadata_ends(path, monkeypatch):
    monkeypatch.setattr("dria_magpie.engines.prompts.tokenizer_files._MOST_READS", 100)
    path.write_bytes(gguf((b"a", 9, struct.pack("<IQ", 0, 1000) + bytes(1000))))
    with pytest.raises(InvalidInputError, match="is damaged"):
        ChatTemplate.from_gguf(path)


def test_a_file_that_is_not_there_is_told(path):
    with pytest.raises(InvalidInputError, match="cannot be read"):
        ChatTemplate.from_gguf(path)
