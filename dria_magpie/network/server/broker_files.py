"""What the broker reads when it starts, made of what the network's owner has."""

from __future__ import annotations

from dria_magpie.network.server.config import ServerConfig
from dria_magpie.network.server.facts import Facts
from dria_magpie.network.server.files import write_file
from dria_magpie.network.server.keyring import Keyring
from dria_magpie.network.server.layout import Layout
from dria_magpie.network.server.members import read_members


def mint_accounts(files: Layout, facts: Facts) -> dict[str, str]:
    """Give the accounts' tokens by public key, as the record of members stands.

    Raises:
        DriaMagpieError: the owner's keys or the record cannot be read.
    """
    return Keyring.read(files.keys).admit(facts.name, read_members(files.members))


def write_broker_files(files: Layout, facts: Facts) -> None:
    """Write configuration and tokens; to be called while the network is held.

    Raises:
        DriaMagpieError: something cannot be read or written.
    """
    accounts = mint_accounts(files, facts)
    for key, token in accounts.items():
        write_file(files.resolver / f"{key}.jwt", token)
    config = ServerConfig(
        files=files,
        host=facts.host,
        port=facts.port,
        operator=Keyring.read(files.keys).vouch(facts.name),
        system_account=facts.system_account,
        accounts=accounts,
    )
    write_file(files.config, config.text)
