"""`dria_workflows`, imported without the warning and the logging that its import brings."""

from __future__ import annotations

import json
import logging
import warnings

_handlers, _level = list(logging.root.handlers), logging.root.level
with warnings.catch_warnings():
    # A field of one model shadows an attribute; another is written for pydantic 1.
    warnings.filterwarnings("ignore", message='Field name "schema"', category=UserWarning)
    warnings.simplefilter("ignore", DeprecationWarning)
    import dria_workflows as dw
# It sets up logging for the whole process.
logging.root.handlers[:] = _handlers
logging.root.setLevel(_level)

__all__ = ["dw", "validate"]


def validate(graph) -> bool:
    """Tell whether Dria's own validator accepts a graph."""
    return dw.validate_workflow_json(json.dumps(graph))
