"""The broker's configuration, as text for nats-server 2.10 or later."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dria_magpie.network.credentials.permissions import HUB_PAYLOAD
from dria_magpie.network.server.layout import Layout

STORE_KEY = "DRIA_STORE_KEY"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """What the broker is to be.

    Attributes:
        files: where things are.
        host: the name or address under which others reach it: it listens on every address of the
            machine, with TLS; None for loopback.
        port: for NATS; the next one is for WebSockets.
        operator: the operator's token.
        system_account: public key of the system account.
        accounts: tokens by public key.
    """

    files: Layout
    host: str | None
    port: int
    operator: str
    system_account: str
    accounts: Mapping[str, str]

    @property
    def text(self) -> str:
        """The file's text; without secrets, as the store's key stays in the environment."""
        tls = f"tls {self._certificate('handshake_first: auto')}" if self.host else ""
        web = f"tls {self._certificate()}" if self.host else "no_tls: true"
        preloaded = "\n".join(f"  {key}: {token}" for key, token in self.accounts.items())
        return f"""\
# Written anew at each start; `dria-magpie network` keeps what it is made of.
listen: "{self._listening}:{self.port}"
websocket {{ listen: "{self._listening}:{self.port + 1}", {web} }}
{tls}

operator: {self.operator}
system_account: {self.system_account}
# Tokens in a directory can be replaced while the broker runs, so that members can be revoked
resolver {{
  type: full
  dir: {_quote(self.files.resolver)}
  allow_delete: false
  interval: "2m"
  # Another broker is asked for accounts that this one does not know, but there is none
  timeout: "100ms"
}}
resolver_preload {{
{preloaded}
}}

jetstream {{
  # It makes a directory `jetstream` there
  store_dir: {_quote(self.files.store.parent)}
  # What was acknowledged is on the disk, but for the hub's notes of who works on what
  sync_interval: always
  cipher: chachapoly
  key: ${STORE_KEY}
}}

max_payload: {HUB_PAYLOAD}
# A reader that is slower than this is cut off, so that it cannot fill the broker's memory
max_pending: 32MB
write_deadline: "10s"
max_subscriptions: 1000
authorization {{ timeout: 5 }}

log_file: {_quote(self.files.log)}
logfile_size_limit: 16MB
logfile_max_num: 4
"""

    @property
    def _listening(self) -> str:
        if self.host is None:
            return "127.0.0.1"
        # Not for every host, as a machine may have no addresses of version six
        return "[::]" if ":" in self.host else "0.0.0.0"  # noqa: S104 - what a host asks for

    def _certificate(self, more: str = "") -> str:
        certificate, key = (_quote(self.files.tls / f"server.{kind}") for kind in ("pem", "key"))
        return f"{{ cert_file: {certificate}, key_file: {key}, timeout: 5\n{more} }}"


def _quote(path: Path) -> str:
    return json.dumps(str(path.resolve()), ensure_ascii=False)
