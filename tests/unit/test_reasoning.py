from __future__ import annotations

import pytest

from dria_magpie.engines.chat.reasoning import split_reasoning


@pytest.mark.parametrize(
    ("answer", "text", "reasoning"),
    [
        ("  Hi, I think so.\n", "  Hi, I think so.\n", ""),
        ("<think>Greet.</think>\n\nHello!", "Hello!", "Greet."),
        ("<think>\n\n</think>\n\nHello!", "Hello!", ""),
        ("<thinking>Greet.</thinking>Hello!", "Hello!", "Greet."),
        ("Greet.</think>\n\nHello!", "Hello!", "Greet."),
        ("<think>Greet. And the", "", "Greet. And the"),
        ("<think>a</think>One.<think>b</think> Two.", "One. Two.", "a\n\nb"),
        ("One.<think>b", "One.<think>b", ""),
        ("Use the `<think>` tag, then `</think>`.", "Use the `<think>` tag, then `</think>`.", ""),
        ("<THINK >Greet.</think>Hello!", "Hello!", "Greet."),
        ("[THINK]Greet.[/THINK]Hello!", "Hello!", "Greet."),
        ("◁think▷Greet.◁/think▷Hello!", "Hello!", "Greet."),
        ("<think>a<think>b</think>c</think>Hello!", "Hello!", "a\n\nb\n\nc"),
        ("a</think>b</think>Hello!", "Hello!", "a\n\nb"),
        ("<think>2 < 3</think>Yes, 2 < 3.", "Yes, 2 < 3.", "2 < 3"),
        ("", "", ""),
        ("<b>think</b>", "<b>think</b>", ""),
    ],
)
def test_reasoning_is_kept_apart_from_the_text(answer, text, reasoning):
    assert split_reasoning(answer) == (text, reasoning)
