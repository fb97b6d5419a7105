"""How a dialogue is shown: as it is spoken on a terminal, or as JSON at the end."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING, Any

from dria_magpie.cli.text import printable

if TYPE_CHECKING:
    from dria_magpie.models import Turn


class Transcript:
    """Collects the turns of a dialogue and prints them as one JSON object at the end."""

    def __init__(self) -> None:
        self._turns: list[Turn] = []

    def add(self, turn: Turn) -> None:
        """Take a finished turn."""
        self._turns.append(turn)

    def close(self, error: str | None = None) -> None:
        """Print what came, and why it ended early if it did."""
        from dria_magpie.factory.results import SPEAKERS
        from dria_magpie.models.turn import join_models

        dialogue = [{SPEAKERS[i % 2]: turn.text} for i, turn in enumerate(self._turns)]
        data: dict[str, Any] = {"dialogue": dialogue, "model": join_models(self._turns)}
        if error:
            data["error"] = error
        unicode = sys.stdout.encoding.lower().startswith("utf")
        text = json.dumps(data, indent=2, ensure_ascii=not unicode)
        try:
            print(text, flush=True)
        except BrokenPipeError:
            raise
        except OSError:
            # A full disk, say: what was finished is not lost.
            print(text, file=sys.stderr)
            raise
        self._finish(error)

    def _finish(self, error: str | None) -> None:
        cut = sum(turn.finish_reason == "length" for turn in self._turns)
        if cut:
            of = f"{cut} of {len(self._turns)} messages were cut off at the token cap"
            print(f"note: {of}; --max-tokens raises it", file=sys.stderr)
        if error:
            print(f"error: {printable(error)}", file=sys.stderr)


class LiveTranscript(Transcript):
    """Prints each message as it is spoken, under the name of its persona.

    Args:
        instructor: the name of who asks.
        responder: the name of who answers.
    """

    def __init__(self, instructor: str, responder: str) -> None:
        from rich.console import Console
        from rich.text import Text

        super().__init__()
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")
        self._names = [printable(name).replace("\n", " ")[:60] for name in (instructor, responder)]
        self._out = Console(highlight=False)
        notes = Console(stderr=True)
        self._waiting = notes.status("", spinner="dots")
        # A model takes seconds to start, which nobody should spend before an empty screen.
        notes.print(Text(" talks with ".join(self._names) + " ...", style="dim"), end="\n\n")

    def add(self, turn: Turn) -> None:
        """Print a finished turn."""
        from rich.text import Text

        self._waiting.stop()
        speaker = len(self._turns) % 2
        style = "bold cyan" if speaker == 0 else "bold green"
        self._out.print(Text(self._names[speaker], style=style))
        self._out.print(Text(printable(turn.text).strip()), end="\n\n")
        super().add(turn)
        self._waiting.start()

    def close(self, error: str | None = None) -> None:
        """Say how it ended."""
        from dria_magpie.models.turn import join_models

        self._waiting.stop()
        if self._turns:
            tokens = sum(turn.completion_tokens for turn in self._turns)
            models = printable(join_models(self._turns))
            print(f"{len(self._turns)} messages, {tokens} tokens, {models}", file=sys.stderr)
        self._finish(error)
