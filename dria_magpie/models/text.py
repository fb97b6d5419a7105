"""Texts of strangers, made fit to be written down."""

from __future__ import annotations


def clean_text(text: str) -> str:
    r"""Join pairs of surrogates and put U+FFFD for lone ones; other text stays as it is.

    Example::

        clean_text("\ud83d\ude00 \ud800")  # "😀 �"
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
