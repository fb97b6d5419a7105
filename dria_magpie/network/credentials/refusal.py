"""Why a network refuses a connection, and what to do about it."""

from __future__ import annotations

import socket
import ssl

from dria_magpie.network.credentials.creds import ASK

_NOBODY = "nothing answers there: check host and port, and that `dria-magpie network up` is running"
_SAID = {
    ("authentication expired",): f"these credentials have expired; {ASK}",
    ("authentication revoked",): f"these credentials were revoked; {ASK}",
    ("authorization violation", "authorization failed", "authentication timeout"): (
        "the network refused these credentials: they were revoked, have expired, are of another "
        f"network, or the broker's clock and this one differ; {ASK}"
    ),
    ("permissions violation",): (
        "these credentials do not allow this, as each member may use only its own subjects; give "
        "a node's credentials to a node and a client's to a client"
    ),
    ("secure connection", "wrong version number", "record layer failure"): (
        "one side speaks TLS and the other does not: the URL of a network with TLS begins with "
        "tls:// or wss://, that of one without with nats:// or ws://"
    ),
    ("maximum payload",): "the message is larger than the network takes",
    ("maximum connections", "connections exceeded"): (
        "the network has as many connections as it takes; try again later"
    ),
    ("no servers available", "connect call failed", "cannot connect to host"): _NOBODY,
}


def explain_refusal(error: BaseException) -> str:
    """Say why a connection failed or was cut, and what to do.

    Args:
        error: what ``nats.connect`` raised, or what its ``error_cb`` was told last.
    """
    said = str(error)
    match error:
        case ssl.SSLCertVerificationError():
            reason = (
                "the broker's certificate is not to be trusted: take the host's name as the "
                "network's owner gave it, and credentials that carry the network's certificate"
            )
        case socket.gaierror():
            reason = "there is no host of this name: check the URL"
        case ConnectionRefusedError():
            reason = _NOBODY
        case TimeoutError():
            reason = "no answer in time: check host and port, and that no firewall is in the way"
        case _:
            reason = _explain(said)
    return f"{reason} ({said})" if said else reason


def _explain(said: str) -> str:
    low = said.lower()
    for signs, reason in _SAID.items():
        if any(sign in low for sign in signs):
            return reason
    return "the network cannot be reached"
