"""Where tasks run: in this process."""

from __future__ import annotations

from dria_magpie.network.local import LocalNetwork
from dria_magpie.network.protocol import Network

__all__ = ["LocalNetwork", "Network"]
