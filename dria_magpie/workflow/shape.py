"""A graph as two texts: its shape, which many tasks share, and what fills it.

The graphs of a sweep differ in the texts of their memory and in their sampling. All else is most of
the text, and nearly all of the work of reading it. So a shape that is known is not read again.
"""

from __future__ import annotations

from functools import lru_cache

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from dria_magpie.errors import GraphError
from dria_magpie.workflow.graph import Workflow, describe
from dria_magpie.workflow.parts import ExternalMemory, TaskSampling

# Strangers may send ever new shapes, of which the largest that are kept take a megabyte each.
_MOST_KNOWN = 64
_LONGEST_KNOWN = 32 * 1024


class _Drawn(BaseModel):
    sampling: TaskSampling | None = None


class _Filling(BaseModel):
    external_memory: ExternalMemory
    tasks: tuple[_Drawn, ...]


def read_halves(shape: str, filling: str) -> Workflow:
    """Read a graph of this shape and filling, as `Workflow.shape` and `Workflow.filling` are.

    What a shape says of memory and sampling itself counts for nothing.

    Raises:
        GraphError: it is no workflow; the text names each field at fault.
        ValueError: it is no JSON.
    """
    graph = _read_known(shape) if len(shape) <= _LONGEST_KNOWN else Workflow.parse_text(shape)
    try:
        given = _Filling.model_validate(from_json(filling, allow_inf_nan=False))
    except ValidationError as error:
        raise GraphError(describe(error)) from error
    samplings = [task.sampling for task in given.tasks]
    if len(samplings) != len(graph.tasks):
        raise GraphError(f"{len(samplings)} tasks are filled, and the graph has {len(graph.tasks)}")
    return graph.fill(given.external_memory, samplings)


_read_known = lru_cache(maxsize=_MOST_KNOWN)(Workflow.parse_text)
