"""The gateway's store: whatever it has accepted outlives its process."""

from __future__ import annotations

from dria_magpie.gateway.store.keys import ApiKey
from dria_magpie.gateway.store.store import Kept, Store, Work

__all__ = ["ApiKey", "Kept", "Store", "Work"]
