"""Whether a failed row is taken up again, as a value."""

from __future__ import annotations

from dataclasses import dataclass

from dria_magpie.errors import (
    ContextLengthError,
    DriaMagpieError,
    EndpointError,
    EngineError,
    ModelFileError,
    NoNodeError,
    UnsupportedError,
)

# Nobody is let in, or the address, the model or the money is missing: true for every row.
_REFUSED = {401, 402, 403, 404, 405}
_WORTH_IT = {408, 409, 425, 429}


@dataclass(frozen=True, slots=True)
class RowRetry:
    """What follows from the failure of a row.

    Attributes:
        again: whether the row is taken up once more.
        for_all: whether other rows must fail for the same reason.
        reason: why.
    """

    again: bool
    for_all: bool
    reason: str


def decide_retry(error: DriaMagpieError, attempts: int, retries: int) -> RowRetry:
    """Decide after a failure.

    Args:
        error: why the row failed.
        attempts: how often it was tried, this one included.
        retries: how often the recipe has it tried again.
    """
    if isinstance(error, (NoNodeError, ModelFileError, UnsupportedError)):
        return RowRetry(False, True, "nothing serves the model")
    status = error.status if isinstance(error, EndpointError) else None
    if status in _REFUSED:
        return RowRetry(False, True, f"the endpoint refuses with {status}")
    if status is not None and status < 500 and status not in _WORTH_IT:
        return RowRetry(False, False, f"the endpoint refuses this prompt with {status}")
    if not isinstance(error, EngineError) or isinstance(error, ContextLengthError):
        return RowRetry(False, False, "another attempt would end in the same way")
    if attempts > retries:
        return RowRetry(False, False, f"{attempts} attempts were made")
    return RowRetry(True, False, "another attempt may succeed")
