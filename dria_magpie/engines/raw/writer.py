"""How raw prompts are written for one model at one endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dria_magpie.engines.prompts.family import Family
from dria_magpie.engines.prompts.pre_query import RawPrompt, render_open_user_turn, without_bos
from dria_magpie.engines.prompts.template import ChatTemplate
from dria_magpie.engines.raw.route import RawRoute
from dria_magpie.errors import EngineError, InvalidInputError, UnsupportedError
from dria_magpie.models import Message


@dataclass(frozen=True, slots=True)
class RawWriter:
    """What was found out about a model at an endpoint.

    Attributes:
        route: where its prompts go.
        style: how its makers write a conversation down.
        adds_bos: the endpoint puts what begins a prompt before it by itself.
    """

    route: RawRoute
    style: ChatTemplate | Family
    adds_bos: bool

    def write(self, messages: Sequence[Message]) -> RawPrompt:
        """Give the prompt that leaves the user's message open.

        Raises:
            UnsupportedError: the model takes no such messages, a system prompt for example.
            EngineError: it takes such messages, but not the words of these.
        """
        try:
            raw = render_open_user_turn(messages, self.style)
        except (InvalidInputError, UnsupportedError) as error:
            kind = EngineError if self._takes_other_words(messages) else UnsupportedError
            raise kind(str(error)) from error
        return without_bos(raw) if self.adds_bos else raw

    def _takes_other_words(self, messages: Sequence[Message]) -> bool:
        plain = [replace(m, content="Yes") if m.content.strip() else m for m in messages]
        try:
            render_open_user_turn(plain, self.style)
        except (InvalidInputError, UnsupportedError):
            return False
        return True
