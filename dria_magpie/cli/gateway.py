"""``dria-magpie gateway``: serve programs that use the ``dria`` SDK; make and revoke their keys."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dria_magpie.cli.interrupt import Interrupts
from dria_magpie.cli.options import ApiKeyEnv, Creds, Endpoint, Network
from dria_magpie.cli.text import printable, say
from dria_magpie.errors import InvalidInputError, UnsupportedError

if TYPE_CHECKING:
    from dria_magpie.gateway import Gateway

app = typer.Typer(help="Serve programs that use the dria SDK.", invoke_without_command=True)
key_app = typer.Typer(help="API keys: one for each program.", no_args_is_help=True)
app.add_typer(key_app, name="key")

_Directory = Annotated[
    Path | None,
    typer.Option(
        "--dir", help="Where keys and tasks are kept.", show_default="in the user's data directory"
    ),
]
_Name = Annotated[str, typer.Argument(metavar="NAME", help="The key's name.")]
# Under it, a network of machines keeps the results that come while the gateway is down.
_RUN = "gateway"


@app.callback()
def serve(
    context: typer.Context,
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where.")] = "127.0.0.1:8642",
    network: Network = None,
    creds: Creds = None,
    endpoint: Endpoint = None,
    api_key_env: ApiKeyEnv = None,
    model: Annotated[
        list[str] | None, typer.Option(help="A model to serve.", show_default="the small one")
    ] = None,
    serve_as: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=MODEL", help="A name of the SDK's, and what it stands for."),
    ] = None,
    hold: Annotated[
        float, typer.Option(min=0, help="Seconds after which results go out as they come.")
    ] = 45.0,
    directory: _Directory = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate, for HTTPS.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="The certificate's key.")] = None,
) -> None:
    """Serve programs that use the dria SDK, until Ctrl-C: what is unfinished is kept."""
    if context.invoked_subcommand:
        if directory is not None:
            raise InvalidInputError("--dir belongs at the end: gateway key create NAME --dir DIR")
        return
    from dria_magpie.cli.connection import open_client
    from dria_magpie.cli.log import log_as_json

    host, port = _read_address(listen)
    tls = _read_tls(tls_cert, tls_key)
    try:
        from dria_magpie.gateway import Gateway
        from dria_magpie.gateway.catalogue import read_serve_as
    except ImportError as error:
        raise _missing(error) from error
    dria = open_client(
        models=model or (),
        endpoint=endpoint,
        network=network,
        api_key_env=api_key_env,
        creds=creds,
        run_id=_RUN,
    )
    made = Gateway(
        dria,
        _find_directory(directory),
        serve_as=read_serve_as(serve_as or ()),
        hold=hold,
        models=model or (),
    )
    log_as_json()
    try:
        code = asyncio.run(_run(made, host, port, tls))
    except asyncio.CancelledError:
        code = 130
    raise typer.Exit(code)


@key_app.command()
def create(name: _Name, directory: _Directory = None) -> None:
    """Make a key, and print it; it is not kept, and cannot be printed again."""
    try:
        from dria_magpie.gateway.keys import create_key
    except ImportError as error:
        raise _missing(error) from error
    print(create_key(_find_directory(directory), name), flush=True)


@key_app.command(name="list")
def list_all(directory: _Directory = None) -> None:
    """Show the keys: when each was made and last used, and how many of its tasks wait."""
    try:
        from dria_magpie.gateway.keys import list_keys
    except ImportError as error:
        raise _missing(error) from error
    for key in list_keys(_find_directory(directory)):
        made, used = _describe_time(key.created), _describe_time(key.used)
        print(f"{printable(key.name)}  made {made}  last used {used}  waiting {key.waiting}")


@key_app.command()
def revoke(name: _Name, directory: _Directory = None) -> None:
    """Make a key void, in a gateway that runs, too; its tasks are dropped."""
    try:
        from dria_magpie.gateway.keys import revoke_key
    except ImportError as error:
        raise _missing(error) from error
    dropped = revoke_key(_find_directory(directory), name)
    say(f"revoked {name}; {dropped} tasks of it were dropped")


async def _run(gateway: Gateway, host: str, port: int, tls: ssl.SSLContext | None) -> int:
    stopped = asyncio.Event()

    def stop() -> bool:
        stopped.set()
        return True

    with Interrupts(stop) as interrupts:
        try:
            await gateway.start(host, port, tls)
            await stopped.wait()
        finally:
            await gateway.aclose()
    return 130 if interrupts.caught else 0


def _find_directory(directory: Path | None) -> Path:
    if directory is not None:
        return directory
    from platformdirs import user_data_path

    return user_data_path("dria-magpie") / "gateway"


def _read_address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise InvalidInputError(f"--listen takes HOST:PORT, such as 0.0.0.0:8642; not {text!r:.80}")
    return host, int(port)


def _read_tls(cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise InvalidInputError("--tls-cert and --tls-key belong together: give both")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ValueError) as error:
        raise InvalidInputError(
            f"--tls-cert {cert} and --tls-key {key} cannot be used: {error}"
        ) from error
    return context


def _describe_time(seconds: float | None) -> str:
    if seconds is None:
        return "never"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _missing(error: ImportError) -> UnsupportedError:
    return UnsupportedError(f"the gateway needs more: pip install 'dria-magpie[network]' ({error})")
