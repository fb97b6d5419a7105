"""The client: `Dria` runs tasks and hands back results."""

from __future__ import annotations

from dria_magpie.client.dria import Dria

__all__ = ["Dria"]
