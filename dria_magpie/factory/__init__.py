"""Factories: a few inputs in, a workflow out."""

from __future__ import annotations

from dria_magpie.factory.magpie import MagPie

__all__ = ["MagPie"]
