"""The store of a run: each turn is kept before the next call is made."""

from __future__ import annotations

from dria_magpie.sweep.store.lock import RunLock
from dria_magpie.sweep.store.pace import Pace
from dria_magpie.sweep.store.reading import SavedRow
from dria_magpie.sweep.store.store import Store

__all__ = ["Pace", "RunLock", "SavedRow", "Store"]
