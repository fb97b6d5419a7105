"""A new network, in a directory of its own."""

from __future__ import annotations

import re

from dria_magpie.errors import InvalidInputError, UnsupportedError
from dria_magpie.network.credentials.permissions import HUB
from dria_magpie.network.server.broker_files import write_broker_files
from dria_magpie.network.server.facts import Facts, check_place, write_url
from dria_magpie.network.server.files import holding, make_directory, write_file
from dria_magpie.network.server.keyring import Keyring
from dria_magpie.network.server.layout import Layout
from dria_magpie.network.server.members import write_members

_SYSTEM = "SYSTEM"


def create_network(files: Layout, host: str | None, port: int) -> Facts:
    """Make a network: its keys, the owner's credentials, and with a host name its certificates.

    Raises:
        InvalidInputError: there is a network already, or host or port cannot be.
        DriaMagpieError: it cannot be written.
    """
    check_place(host, port)
    make_directory(files.home)
    with holding(files.lock, f"another command makes a network in {files.home} now"):
        if files.facts.exists():
            raise InvalidInputError(f"there is a network in {files.home}; take another directory")
        keys = Keyring.generate()
        facts = Facts(
            name=re.sub(r"[^A-Za-z0-9_.-]+", "-", files.home.resolve().name) or "network",
            host=host,
            port=port,
            url=write_url("nats", host, port),
            websocket_url=write_url("ws", host, port + 1),
            operator=keys.operator.public,
            account=keys.account.public,
            system_account=keys.system.public,
        )
        _write(files, facts, keys)
    return facts


def _write(files: Layout, facts: Facts, keys: Keyring) -> None:
    creds = files.creds("hub").parent
    for directory in (files.keys, creds, files.resolver, files.store, files.tls):
        make_directory(directory)
    keys.write(files.keys)
    if facts.host is not None:
        try:
            from dria_magpie.network.server.tls import make_certificates
        except ImportError as error:
            raise UnsupportedError(
                f"--host needs certificates: pip install 'dria-magpie[network]' ({error})"
            ) from error
        make_certificates(files.tls, facts.host)
    write_file(files.creds("hub"), keys.issue("hub", "hub", token=HUB).text)
    write_file(files.creds("system"), keys.issue("system", "system", token=_SYSTEM).text)
    write_members(files.members, ())
    write_broker_files(files, facts)
    # Last, so that what a crash left half done is made anew
    write_file(files.facts, facts.model_dump_json(indent=2) + "\n")
