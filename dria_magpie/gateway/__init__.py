"""The gateway: programs written for the ``dria`` SDK, run by this package."""

from __future__ import annotations

from dria_magpie.gateway.gateway import Gateway

__all__ = ["Gateway"]
