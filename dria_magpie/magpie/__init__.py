"""Rows in, rows out: instructions and answers that a model draws from itself."""

from __future__ import annotations

from dria_magpie.magpie.generator import MagpieGenerator
from dria_magpie.magpie.magpie import Magpie

__all__ = ["Magpie", "MagpieGenerator"]
