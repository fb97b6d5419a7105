"""What the documentation claims about speed, measured: ``python -m benchmarks [NAME]``."""

from __future__ import annotations
