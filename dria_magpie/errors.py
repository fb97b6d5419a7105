"""Every error that this package raises, under one base.

::

    DriaMagpieError
    ├── InvalidInputError        an argument that cannot work (also a ValueError)
    ├── WorkflowError            the graph, or a run of it
    │   ├── GraphError           the workflow is not one: a field is missing, wrong or unknown
    │   ├── StateError           an execution state that is damaged, or does not fit its workflow
    │   ├── StepError            a task of the graph failed: an input, a comparison, an operator
    │   └── LimitError           max_steps or max_time of the graph was reached
    ├── EngineError              text generation failed
    │   ├── EndpointError        the endpoint refused, broke or never answered
    │   ├── ContextLengthError   the prompt does not fit into the model's context
    │   ├── EmptyCompletionError the model answered with nothing
    │   ├── InstructionError     the model wrote nothing that a user could have written
    │   ├── DrainedError         the engine begins no more calls, as it was asked to
    │   ├── UnsupportedError     this engine or version cannot do what was asked
    │   └── ModelFileError       weights are missing, damaged or cannot be loaded
    ├── NetworkError             a network of nodes cannot be reached, or lets nobody in
    ├── NoNodeError              no node serves the model that was asked for
    ├── TaskTimeoutError         the time that was given ran out (also a TimeoutError)
    ├── StoreError               a sweep's or gateway's store is full, damaged, or held elsewhere
    └── ParseError               a result is not what its workflow promises (also a ValueError)

Errors of other libraries appear only as ``__cause__``. An error that ended a run carries that
run's `TaskResult` in ``result``: every turn that was finished before it is in ``error.turns``.

Example::

    try:
        result = await dria.execute(task)
    except ContextLengthError as error:
        keep(error.turns)
    except DriaMagpieError as error:
        print(error)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dria_magpie.models.task import TaskResult
    from dria_magpie.models.turn import Turn


class DriaMagpieError(Exception):
    """The base of every error of this package; its text says what to do.

    Attributes:
        result: the failed run's result, where the error ended a run; else None.
    """

    result: TaskResult | None = None

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The turns that were finished before the error, oldest first."""
        return self.result.turns if self.result else ()


class InvalidInputError(DriaMagpieError, ValueError):
    """An argument cannot work; the text names the argument and what it takes."""


class WorkflowError(DriaMagpieError):
    """A workflow graph, or a run of it, is at fault."""


class GraphError(WorkflowError):
    """The workflow is not one: a field is missing, wrong or unknown."""


class StateError(WorkflowError):
    """An execution state that was damaged, or that points past its workflow's steps."""


class StepError(WorkflowError):
    """A task of the graph failed for a reason in the graph: input, comparison or operator."""


class LimitError(WorkflowError):
    """The run reached ``max_steps`` or ``max_time`` of its workflow."""


class EngineError(DriaMagpieError):
    """Text generation failed."""


class EndpointError(EngineError):
    """The endpoint refused the request, broke while answering, or never answered.

    Attributes:
        status: the HTTP status of the last answer, or None if there was none.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class ContextLengthError(EngineError):
    """The prompt does not fit into the model's context. It is never tried again."""


class EmptyCompletionError(EngineError):
    """The model answered with nothing, again and again."""


class InstructionError(EngineError):
    """An open user turn came to nothing, again and again: cut off, empty, or not a user's words."""


class DrainedError(EngineError):
    """The call was not made: its engine, node or network was drained before."""


class UnsupportedError(EngineError):
    """This engine, or this version, cannot do what was asked; the text says what can."""


class ModelFileError(EngineError):
    """A model's weights are missing, damaged, or cannot be loaded here."""


class NetworkError(DriaMagpieError):
    """A network of nodes cannot be reached, or refuses: the text says what to do."""


class NoNodeError(DriaMagpieError):
    """No node serves the model; the text names what is served and how to serve the model."""


class TaskTimeoutError(DriaMagpieError, TimeoutError):
    """The time that was given ran out; turns that were finished are kept in ``turns``."""


class StoreError(DriaMagpieError):
    """The store of a sweep or of a gateway cannot be used.

    Full disk, damage, another process, another version: the text says which, and what to do.
    """


class ParseError(DriaMagpieError, ValueError):
    """A result is not what its workflow promises; the text says where it differs."""
