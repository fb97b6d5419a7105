"""Factories: a few inputs in, a workflow out."""

from __future__ import annotations

from dria_magpie.factory.magpie import MagPie
from dria_magpie.factory.self_synthesis import SelfSynthesis

__all__ = ["MagPie", "SelfSynthesis"]
