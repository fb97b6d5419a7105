"""What a sweep will do: rows, each a function of the recipe and its number."""

from __future__ import annotations

from dria_magpie.sweep.plan.plan import Plan, PlannedRow

__all__ = ["Plan", "PlannedRow"]
