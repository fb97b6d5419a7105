"""Sweeps: a recipe, thousands of rows, a store that survives a kill, and the dataset in the end."""

from __future__ import annotations

from dria_magpie.sweep.recipe import Recipe
from dria_magpie.sweep.row import Row
from dria_magpie.sweep.run_dir import RunDir
from dria_magpie.sweep.status import Status
from dria_magpie.sweep.sweep import Sweep

__all__ = ["Recipe", "Row", "RunDir", "Status", "Sweep"]
