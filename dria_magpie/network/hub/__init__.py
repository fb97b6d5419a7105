"""The trusted side of a network: who gets which task, and what is accepted."""

from __future__ import annotations

from dria_magpie.network.hub.hub import STATUS, Hub

__all__ = ["STATUS", "Hub"]
