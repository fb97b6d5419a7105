"""A factory for synthetic dialogues."""

from __future__ import annotations
