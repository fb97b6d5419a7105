"""The broker's tokens, minted here: JWTs of an operator, its accounts and their users. No I/O.

Everything is as https://docs.nats.io describes version 2; the broker refuses what is not.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from dria_magpie.errors import InvalidInputError
from dria_magpie.network.credentials.keys import BrokerKey
from dria_magpie.network.credentials.permissions import Permissions

_HEADER = {"typ": "JWT", "alg": "ed25519-nkey"}
_UNLIMITED = -1
_ANY_NUMBER = {"subs": _UNLIMITED, "data": _UNLIMITED, "payload": _UNLIMITED}
_STORAGE = ("mem_storage", "disk_storage", "streams", "consumer")


def mint_operator(operator: BrokerKey, *, name: str, system_account: str, now: int) -> str:
    """Make the operator's token, signed by itself.

    Args:
        operator: its key.
        name: the network's.
        system_account: public key of the account that may watch and change the broker.
        now: when, in seconds since 1970.
    """
    about = {"type": "operator", "system_account": system_account}
    return _mint(operator, operator.public, name, about, now)


def mint_account(
    operator: BrokerKey,
    account: str,
    *,
    name: str,
    now: int,
    storage: bool,
    revoked: Mapping[str, int] | None = None,
) -> str:
    """Make an account's token.

    Args:
        operator: signs it.
        account: its public key.
        name: for people.
        now: when, in seconds since 1970.
        storage: whether it has JetStream, without limits; else it has none.
        revoked: users' public keys, and when (seconds since 1970): their tokens until then are
            void.
    """
    limits = {**_ANY_NUMBER, "imports": _UNLIMITED, "exports": _UNLIMITED, "wildcards": True}
    limits |= {"conn": _UNLIMITED, "leaf": 0}
    if storage:
        limits |= dict.fromkeys(_STORAGE, _UNLIMITED)
    about: dict[str, Any] = {"type": "account", "limits": limits}
    if revoked:
        about["revocations"] = dict(revoked)
    return _mint(operator, account, name, about, now)


def mint_user(
    account: BrokerKey,
    user: str,
    *,
    name: str,
    tags: Sequence[str],
    permissions: Permissions,
    now: int,
    expires: int | None = None,
) -> str:
    """Make a user's token.

    Args:
        account: signs it.
        user: the public key of the one who may use it.
        name: for people.
        tags: whatever should be known of the user; the broker keeps them in small letters.
        permissions: what the user may do.
        now: when, in seconds since 1970.
        expires: when it ends, in seconds since 1970; None if it never does.
    """
    about: dict[str, Any] = {
        "type": "user",
        "tags": list(tags),
        "pub": {"allow": list(permissions.publish)},
        "sub": {"allow": list(permissions.subscribe)},
        "subs": permissions.subscriptions or _UNLIMITED,
        "data": _UNLIMITED,
        "payload": permissions.payload or _UNLIMITED,
        # Whoever has the token alone, without its key, is nobody
        "bearer_token": False,
    }
    return _mint(account, user, name, about, now, expires)


def read_claims(token: str) -> dict[str, Any]:
    """Read what a token says. Who signed it is for the broker to check.

    Raises:
        InvalidInputError: it is no token.
    """
    try:
        claims = json.loads(_decode(token.split(".")[1]))
    except (ValueError, IndexError) as error:
        raise InvalidInputError("not a token of NATS: it is cut off or mixed up") from error
    if not isinstance(claims, dict) or not isinstance(claims.get("nats"), dict):
        raise InvalidInputError("not a token of NATS: it has no claims")
    return claims


def _mint(
    issuer: BrokerKey,
    subject: str,
    name: str,
    about: Mapping[str, Any],
    now: int,
    expires: int | None = None,
) -> str:
    claims = {"iat": now, "iss": issuer.public, "sub": subject, "name": name}
    claims |= {"nats": {**about, "version": 2}}
    if expires is not None:
        claims["exp"] = expires
    # Its own name: two tokens that say the same are the same
    digest = hashlib.sha256(_to_json(claims)).digest()
    claims["jti"] = base64.b32encode(digest).decode().rstrip("=")
    signed = f"{_encode(_to_json(_HEADER))}.{_encode(_to_json(claims))}"
    return f"{signed}.{_encode(issuer.sign(signed.encode()))}"


def _to_json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
