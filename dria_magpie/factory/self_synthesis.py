"""`SelfSynthesis`: a model writes both sides, the user's messages from their opening alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, overload

from dria_magpie.factory.arguments import (
    check_model,
    check_switch,
    check_text,
    check_turns,
    read_sampling,
)
from dria_magpie.factory.chat import HISTORY, make_graph, make_side, parse_each, user
from dria_magpie.factory.results import Result, read_texts
from dria_magpie.factory.singleton import Singleton
from dria_magpie.models import Sampling
from dria_magpie.workflow import Workflow
from dria_magpie.workflow.parts import ExternalMemory

# Instructions are drawn hot, for variety; answers cool, for quality.
INSTRUCTION_SAMPLING = Sampling(temperature=1.0, top_p=1.0, max_tokens=512)
RESPONSE_SAMPLING = Sampling(temperature=0.0)
Conversation = dict[str, Any]
_ROLES = ("user", "assistant")


class SelfSynthesis(Singleton):
    """Emits conversations that a model holds with itself. One instance, without state.

    The user's messages are written by the model, given only what opens a user's turn in its chat
    template: the MAGPIE method. Engines that take no raw prompts refuse it.

    Example::

        synthesis = SelfSynthesis()
        result = await dria.execute(Task(workflow=synthesis.workflow(num_turns=2)))
        synthesis.parse_result(result)["conversation"][0]  # {"role": "user", "content": ...}
    """

    def workflow(
        self,
        system_prompt: str | None = None,
        num_turns: int = 1,
        *,
        end_with_user: bool = False,
        only_instruction: bool = False,
        instruction_sampling: Sampling | Mapping[str, Any] | None = None,
        response_sampling: Sampling | Mapping[str, Any] | None = None,
        instruction_model: str | None = None,
        response_model: str | None = None,
    ) -> Workflow:
        """Give the graph of a conversation.

        Args:
            system_prompt: stands before both sides' messages; None for none.
            num_turns: the user's messages with their answers.
            end_with_user: leave the last answer out.
            only_instruction: one message of the user, whatever `num_turns` says.
            instruction_sampling: how the user's messages are drawn; what it leaves open is
                temperature 1 and 512 tokens. One that is cut off is drawn again. A mapping of a
                `Sampling`'s names will do, here and below.
            response_sampling: how the answers are drawn; what it leaves open is temperature 0.
            instruction_model: the model that writes the user's messages; else the task's.
            response_model: the model that answers; else the task's.

        Raises:
            InvalidInputError: an argument that cannot work; the message names it.
        """
        messages = 2 * check_turns(num_turns) - check_switch("end_with_user", end_with_user)
        if check_switch("only_instruction", only_instruction):
            messages = 1
        memory: ExternalMemory = {}
        if system_prompt is not None:
            memory["system_prompt"] = check_text("system_prompt", system_prompt)
        graph = _skeleton(
            bool(memory),
            messages,
            check_model("instruction_model", instruction_model),
            check_model("response_model", response_model),
        )
        asking = _over(INSTRUCTION_SAMPLING, "instruction_sampling", instruction_sampling)
        answering = _over(RESPONSE_SAMPLING, "response_sampling", response_sampling)
        return graph.fill(memory, [asking, answering, None])

    @overload
    def parse_result(self, result: Result) -> Conversation: ...

    @overload
    def parse_result(self, result: Sequence[Result]) -> list[Conversation]: ...

    def parse_result(self, result: Result | Sequence[Result]) -> Conversation | list[Conversation]:
        """Read the result of a conversation, or of several.

        Args:
            result: a `TaskResult`, one of the ``dria`` SDK, or a list of them.

        Returns:
            ``{"conversation": [{"role": "user", "content": ...}, ...], "model": ...}``, the
            system prompt left out; for a list, a list with an item for each result, where one
            that failed or makes no sense is ``{"error": ...}``.

        Raises:
            ParseError: a single result that failed or is no conversation.
        """
        parsed: Conversation | list[Conversation] = parse_each(result, _parse)
        return parsed


def _parse(result: Result) -> Conversation:
    texts = read_texts(result)
    messages = [{"role": _ROLES[n % 2], "content": text} for n, text in enumerate(texts)]
    return {"conversation": messages, "model": result.model}


def _over(default: Sampling, name: str, chosen: Sampling | Mapping[str, Any] | None) -> Sampling:
    if chosen is None:
        return default
    return default.evolve(**read_sampling(name, chosen).to_dict())


@lru_cache(maxsize=64)
def _skeleton(
    system: bool, messages: int, instruction: str | None, response: str | None
) -> Workflow:
    keys = ["system_prompt"] if system else []
    known = [{"role": "system", "content": "{{system_prompt}}"}, HISTORY] if system else [HISTORY]
    return make_graph(
        make_side("instruction", keys, [*known, user("")], open_user_turn=True, model=instruction),
        make_side("response", keys, known, model=response),
        messages,
    )
