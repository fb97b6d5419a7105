"""Chat completions from one endpoint: calls, retries, concurrency, roles and reasoning."""

from __future__ import annotations
