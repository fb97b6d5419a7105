"""Text generation: an OpenAI-compatible endpoint, or a model in a process of one's own."""

from __future__ import annotations
