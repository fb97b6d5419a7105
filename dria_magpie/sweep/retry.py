"""Whether a failed row is taken up again, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dria_magpie.errors import (
    ContextLengthError,
    DriaMagpieError,
    EmptyCompletionError,
    EndpointError,
    EngineError,
    InstructionError,
    ModelFileError,
    NetworkError,
    NoNodeError,
    UnsupportedError,
)

Fault = Literal["row", "endpoint", "setup"]
# Nobody is let in, or the address, the model or the money is missing. Not 403: it may be a filter.
_REFUSED = {401, 402, 404, 405}
# The endpoint answered, though not with what was asked for.
_UNUSABLE = (EmptyCompletionError, InstructionError)
_WORTH_IT = {408, 409, 425, 429}


@dataclass(frozen=True, slots=True)
class RowRetry:
    """What follows from the failure of a row.

    Attributes:
        again: whether the row is taken up once more.
        fault: whose it is: the ``row`` itself, the ``endpoint``, which may come back, or the
            ``setup``, in which every row must fail.
        reason: why.
    """

    again: bool
    fault: Fault
    reason: str


def decide_retry(error: DriaMagpieError, attempts: int, retries: int) -> RowRetry:
    """Decide after a failure.

    Args:
        error: why the row failed.
        attempts: how often it was tried, this one included.
        retries: how often the recipe has it tried again.
    """
    if isinstance(error, (NoNodeError, ModelFileError, UnsupportedError)):
        return RowRetry(False, "setup", "nothing serves the model")
    status = error.status if isinstance(error, EndpointError) else None
    if status in _REFUSED:
        return RowRetry(False, "setup", f"the endpoint refuses with {status}")
    if status is not None and status < 500 and status not in _WORTH_IT:
        return RowRetry(False, "row", f"the endpoint refuses this prompt with {status}")
    if not isinstance(error, (EngineError, NetworkError)) or isinstance(error, ContextLengthError):
        return RowRetry(False, "row", "another attempt would end in the same way")
    fault: Fault = "row" if isinstance(error, _UNUSABLE) else "endpoint"
    if attempts > retries:
        return RowRetry(False, fault, f"{attempts} attempts were made")
    return RowRetry(True, fault, "another attempt may succeed")
