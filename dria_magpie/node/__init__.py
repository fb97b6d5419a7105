"""A node takes a task, runs its workflow on an engine, and reports turns and the result."""

from __future__ import annotations

from dria_magpie.node.events import Event, TurnDone
from dria_magpie.node.node import Node

__all__ = ["Event", "Node", "TurnDone"]
