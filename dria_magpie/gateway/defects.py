"""Errors that nobody foresaw, for the log: where they are from, without the texts they quote."""

from __future__ import annotations

from traceback import extract_tb


def locate(error: BaseException) -> str:
    """Give an error's type, and the places in the code that it came through, the last one first."""
    frames = [f"{frame.name}:{frame.lineno}" for frame in extract_tb(error.__traceback__)]
    return f"{type(error).__name__} in {' < '.join(reversed(frames))}"
