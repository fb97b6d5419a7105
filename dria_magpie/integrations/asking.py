"""Asking a gateway whether it is one, whether it takes a key, and what it serves."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from pydantic import Base64Bytes, BaseModel, ValidationError

from dria_magpie.errors import InvalidInputError, NetworkError

# A gateway answers both questions from memory.
_WAIT = 5.0
_HEALTHY = "Node is healthy"
# A reverse proxy's words for "there is nobody behind me"
_NOBODY_BEHIND = frozenset({502, 503, 504})


class AwayError(NetworkError):
    """Nothing answers now; that may be another matter in a second."""


class _Payload(BaseModel):
    models: list[str]


class _Heartbeat(BaseModel):
    message: Base64Bytes


class _Data(BaseModel):
    results: list[str] | None


class _Peers(BaseModel):
    data: _Data


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes


def clean_url(url: object) -> str:
    """Give a gateway's address as the SDK takes it, without a slash at its end.

    Raises:
        InvalidInputError: it is no address of a server.
    """
    example = "write it as in http://127.0.0.1:8642"
    if not isinstance(url, str):
        raise InvalidInputError(f"the gateway's URL is a text, not {type(url).__name__}; {example}")
    cleaned = url.strip().rstrip("/")
    try:
        parts = urlsplit(cleaned)
        is_address = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise InvalidInputError(f"{url!r} is no URL: {error}; {example}") from error
    if not is_address:
        raise InvalidInputError(f"{url!r} is no http or https URL; {example}")
    if parts.query or parts.fragment or parts.username is not None:
        raise InvalidInputError(
            f"a gateway's URL has host, port and path, and nothing else; {example}"
        )
    return cleaned


async def check_gateway(url: str, key: str) -> None:
    """Check that a gateway is there and takes the key.

    Raises:
        NetworkError: there is none, or it does not; the text says what to do.
    """
    health = await _get(f"{url}/health", url, key)
    if health.status != 200 or health.body.strip() != _HEALTHY.encode():
        raise _tell_other(url, f"/health gives HTTP {health.status}")
    await find_served(url, key)


async def find_served(url: str, key: str) -> frozenset[str]:
    """Ask which models a gateway serves, by the names that its clients may use.

    Raises:
        NetworkError: it does not answer, or does not take the key.
    """
    answer = await _get(f"{url}/rpc/get_alive_peers", url, key)
    if answer.status == 401:
        raise NetworkError(
            f"the gateway at {url} does not know this key; make one there with dria-magpie "
            "gateway key create NAME, and give it to the client: Dria(rpc_token=KEY)"
        )
    try:
        heartbeats = _Peers.model_validate_json(answer.body).data.results or []
    except ValidationError as error:
        raise _tell_other(url, f"it knows no nodes (HTTP {answer.status})") from error
    return frozenset(name for heartbeat in heartbeats for name in _read_names(heartbeat))


def _read_names(heartbeat: str) -> list[str]:
    """Give a heartbeat's models; the SDK passes over what it cannot read, too."""
    try:
        message = _Heartbeat.model_validate_json(heartbeat).message
        return _Payload.model_validate_json(message).models
    except ValidationError:
        return []


async def _get(address: str, url: str, key: str) -> _Answer:
    """Make one call; a redirect is not followed, as the SDK's tasks would get lost in it."""
    import aiohttp

    try:
        async with (
            aiohttp.ClientSession(
                headers={"x-api-key": key}, timeout=aiohttp.ClientTimeout(total=_WAIT)
            ) as session,
            session.get(address, allow_redirects=False) as response,
        ):
            answer = _Answer(response.status, await response.read())
            location = response.headers.get("Location")
    except TimeoutError as error:
        raise AwayError(
            f"nothing answers at {url} within {_WAIT:g} s; is the gateway there, and no firewall "
            "between? dria-magpie gateway starts one"
        ) from error
    except aiohttp.ClientError as error:
        raise _translate(error, url) from error
    if 300 <= answer.status < 400:
        raise NetworkError(f"{url} sends its visitors on to {location}: give that address instead")
    if answer.status in _NOBODY_BEHIND:
        raise AwayError(
            f"there is no gateway behind {url} now (HTTP {answer.status}): start it with "
            "dria-magpie gateway"
        )
    return answer


def _translate(error: Exception, url: str) -> NetworkError:
    import aiohttp

    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return NetworkError(
            f"the certificate at {url} is not one that this machine trusts, or is for another "
            f"name ({error.certificate_error}); have SSL_CERT_FILE name the file of its authority "
            "before this program starts"
        )
    if isinstance(error, aiohttp.ClientSSLError):
        return NetworkError(
            f"no TLS is spoken at {url}; a gateway without --tls-cert has an address that begins "
            "with http://"
        )
    if isinstance(error, aiohttp.ClientConnectorError):
        return AwayError(
            f"nothing answers at {url} ({error.os_error}): start it with dria-magpie gateway, or "
            "mend host and port"
        )
    return _tell_other(
        url, f"{error!r}; a gateway with --tls-cert has an address that begins with https://"
    )


def _tell_other(url: str, why: str) -> NetworkError:
    return NetworkError(
        f"something else answers at {url}, not a gateway: {why}; give the address that "
        "dria-magpie gateway tells when it starts"
    )
