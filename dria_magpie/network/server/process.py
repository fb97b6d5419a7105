"""The broker as a process: started, ready, or with the reason why not."""

from __future__ import annotations

import asyncio
import json
import logging
import tempfile
from pathlib import Path
from secrets import token_hex
from typing import IO, Any

from dria_magpie.errors import DriaMagpieError, InvalidInputError
from dria_magpie.network.server.binary import find_server
from dria_magpie.network.server.broker_files import write_broker_files
from dria_magpie.network.server.config import STORE_KEY
from dria_magpie.network.server.home import NetworkHome
from dria_magpie.network.server.leashed import Leashed
from dria_magpie.network.server.store_key import quote_store_key, read_store_key

logger = logging.getLogger(__name__)
_LOOK = 0.02
_ANSWER = 2.0
_TAIL = 4000
# Go collects its garbage at twice what is in use, which for a small broker is always: four times
# saves a seventh of its time, and beyond the limit it does as before.
_MEMORY = {"GOGC": "400", "GOMEMLIMIT": "1GiB"}


async def start_server(home: NetworkHome, binary: Path | None = None) -> Leashed:
    """Start the broker of a network and wait until it takes connections.

    It reads its whole store first, so this has no limit of time; a cancelled call ends it.

    Args:
        home: the network.
        binary: nats-server; None for the one that is installed.

    Raises:
        InvalidInputError: nats-server is missing, its port is taken, or the store's key is not
            set, or another one.
        DriaMagpieError: it ended for another reason; its last words are in the text.
    """
    program = find_server(binary)
    key = read_store_key(home.files)
    with home.holding():
        write_broker_files(home.files, home.facts)
    name = f"{home.facts.name}-{token_hex(4)}"
    written = home.files.log.stat().st_size if home.files.log.exists() else 0
    with tempfile.TemporaryFile() as said:
        server = Leashed(
            [str(program), "-c", str(home.files.config.resolve()), "-n", name],
            env={**_MEMORY, STORE_KEY: quote_store_key(key)},
            stderr=said,
        )
        try:
            while not await _answers(home.facts.port, name):
                if server.exit_code is not None:
                    raise _explain(home, server, _read(said) + _read_log(home.files.log, written))
                await asyncio.sleep(_LOOK)
        except BaseException:
            server.kill()
            raise
    return server


async def _answers(port: int, name: str) -> bool:
    """Tell whether this very broker is what answers on the port."""
    try:
        async with asyncio.timeout(_ANSWER):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                line = await reader.readline()
            finally:
                writer.close()
                await writer.wait_closed()
        return _read_info(line).get("server_name") == name
    except (OSError, ValueError):  # a TimeoutError is an OSError
        return False


def _read_info(line: bytes) -> dict[str, Any]:
    word, _, info = line.partition(b" ")
    said = json.loads(info) if word == b"INFO" else {}
    return said if isinstance(said, dict) else {}


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace")


def _read_log(log: Path, start: int) -> str:
    try:
        data = log.read_bytes()
    except OSError:
        return ""
    # It is shorter than before where the broker has begun another
    return data[start if start <= len(data) else 0 :].decode("utf-8", "replace")


def _explain(home: NetworkHome, server: Leashed, said: str) -> DriaMagpieError:
    port = home.facts.port
    if "address already in use" in said or "bind:" in said:
        return InvalidInputError(
            f"port {port} or {port + 1} (for WebSockets) is taken, perhaps by this network, which "
            "runs already: end what listens there, or make the network with another --port"
        )
    fatal = [line for line in said.splitlines() if "[FTL]" in line or "nats-server:" in line]
    reason = "\n".join(fatal) or said[-_TAIL:].strip()
    return DriaMagpieError(
        f"nats-server ended with exit code {server.exit_code}; see {home.files.log}: {reason}"
    )
