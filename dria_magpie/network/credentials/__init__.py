"""Who may do what in a network of nodes, and how it is shown to the broker."""

from __future__ import annotations

from dria_magpie.network.credentials.creds import Credentials
from dria_magpie.network.credentials.permissions import MAX_PAYLOAD, Permissions, permissions_of
from dria_magpie.network.credentials.refusal import explain_refusal

__all__ = ["MAX_PAYLOAD", "Credentials", "Permissions", "explain_refusal", "permissions_of"]
