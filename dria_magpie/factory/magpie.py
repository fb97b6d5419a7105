"""`MagPie`: a dialogue between two personas, as a workflow."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, overload

from dria_magpie.factory.arguments import check_model, check_text, check_turns, read_sampling
from dria_magpie.factory.chat import HISTORY, make_graph, make_side, parse_each, user
from dria_magpie.factory.results import Result, parse_dialogue
from dria_magpie.factory.singleton import Singleton
from dria_magpie.models import Sampling
from dria_magpie.workflow import Workflow
from dria_magpie.workflow.parts import ExternalMemory

Dialogue = dict[str, Any]


class MagPie(Singleton):
    """Emits dialogues as workflows and reads their results. One instance, without state.

    Example::

        magpie = MagPie()
        graph = magpie.workflow("A curious scientist", "An AI assistant", num_turns=3)
        result = await dria.execute(Task(workflow=graph, models=[Model.SMOLLM2_135M]))
        magpie.parse_result(result)["dialogue"][0]["instructor"]
    """

    def workflow(
        self,
        instructor_persona: str,
        responding_persona: str,
        num_turns: int = 1,
        *,
        topic: str | None = None,
        language: str | None = None,
        instructor_sampling: Sampling | None = None,
        responder_sampling: Sampling | None = None,
        instructor_model: str | None = None,
        responder_model: str | None = None,
    ) -> Workflow:
        """Give the graph of a dialogue.

        Args:
            instructor_persona: who leads and asks, for example "A curious scientist".
            responding_persona: who answers.
            num_turns: questions with their answers; the dialogue has twice as many messages.
            topic: what they talk about.
            language: what they speak, for example "Turkish".
            instructor_sampling: how the instructor's tokens are drawn; without `max_tokens` the
                engine caps a message (100 tokens on the embedded model).
            responder_sampling: the same for the responder.
            instructor_model: the model that speaks as the instructor; else the task's.
            responder_model: the model that speaks as the responder; else the task's.

        Returns:
            A `Workflow`; ``model_dump()`` gives the dict that any Dria-compatible executor takes.

        Raises:
            InvalidInputError: an empty text, or `num_turns` below 1.
        """
        memory: ExternalMemory = {
            "instructor_persona": check_text("instructor_persona", instructor_persona),
            "responding_persona": check_text("responding_persona", responding_persona),
        }
        for name, value in (("topic", topic), ("language", language)):
            if value is not None:
                memory[name] = check_text(name, value)
        graph = _skeleton(
            tuple(memory),
            2 * check_turns(num_turns),
            check_model("instructor_model", instructor_model),
            check_model("responder_model", responder_model),
        )
        asking = _read_sampling("instructor_sampling", instructor_sampling)
        answering = _read_sampling("responder_sampling", responder_sampling)
        return graph.fill(memory, [asking, answering, None])

    @overload
    def parse_result(self, result: Result) -> Dialogue: ...

    @overload
    def parse_result(self, result: Sequence[Result]) -> list[Dialogue]: ...

    def parse_result(self, result: Result | Sequence[Result]) -> Dialogue | list[Dialogue]:
        """Read the result of a dialogue, or of several.

        Args:
            result: a `TaskResult`, one of the ``dria`` SDK, or a list of them.

        Returns:
            ``{"dialogue": [{"instructor": ...}, {"responder": ...}, ...], "model": ...}``; for a
            list, a list with an item for each result, where one that failed or makes no sense
            is ``{"error": ...}``.

        Raises:
            ParseError: a single result that failed or is no dialogue.
        """
        parsed: Dialogue | list[Dialogue] = parse_each(result, _parse)
        return parsed


def _parse(result: Result) -> Dialogue:
    return {"dialogue": parse_dialogue(result), "model": result.model}


def _read_sampling(name: str, value: object) -> Sampling | None:
    return None if value is None else read_sampling(name, value)


@lru_cache(maxsize=64)
def _skeleton(
    texts: tuple[str, ...], messages: int, instructor: str | None, responder: str | None
) -> Workflow:
    """Give what all dialogues of one shape share: building it costs as much as a model call."""
    opening = [_system("instructor", texts), user(_prompt("opening")), HISTORY]
    return make_graph(
        make_side("instructor", texts, opening, model=instructor),
        make_side("responder", texts, [_system("responder", texts), HISTORY], model=responder),
        messages,
    )


def _system(name: str, texts: Sequence[str]) -> dict[str, str]:
    parts = [name, *(part for part in ("topic", "language") if part in texts)]
    return {"role": "system", "content": "\n".join(_prompt(part) for part in parts)}


@cache
def _prompt(name: str) -> str:
    return files("dria_magpie.factory").joinpath("prompts", f"{name}.md").read_text("utf-8").strip()
