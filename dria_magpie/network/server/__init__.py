"""A network's own side: its directory, its broker, and the processes that make it run."""

from __future__ import annotations

from dria_magpie.network.server.home import NetworkHome
from dria_magpie.network.server.members import Member

__all__ = ["Member", "NetworkHome"]
