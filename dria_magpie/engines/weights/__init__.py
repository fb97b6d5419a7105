"""Weights: what a model's name means, where its file is, and how to get it."""

from __future__ import annotations
