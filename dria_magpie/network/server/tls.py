"""Certificates for a network that has a host name, made without anybody's help.

``tls/`` holds ``ca.pem``, ``ca.key``, ``server.pem`` and ``server.key``. They may be replaced by
files of the same names: with a certificate of a public authority, remove ``ca.pem``, and new
credentials carry no certificate; with an authority of one's own, put its certificate there.
"""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from dria_magpie.network.server.files import make_directory, write_file

_VALID = timedelta(days=3650)
_CLOCKS_DIFFER = timedelta(days=1)


def make_certificates(directory: Path, host: str) -> None:
    """Make an authority, and a certificate for a host that this authority signs.

    Args:
        directory: where to, for ``ca.pem`` and the others.
        host: a name or an IP address; loopback is added to it.

    Raises:
        DriaMagpieError: they cannot be written.
    """
    make_directory(directory)
    ca_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name = _name(f"dria-magpie network on {host}"[:64])
    ca = (
        _builder(ca_key, ca_name, ca_name, ca_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    server = (
        _builder(server_key, _name("dria-magpie broker"), ca_name, ca_key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(_alternatives(host), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    for name, key, certificate in (("ca", ca_key, ca), ("server", server_key, server)):
        write_file(directory / f"{name}.key", _to_pem(key))
        pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
        write_file(directory / f"{name}.pem", pem)


def _builder(
    key: ec.EllipticCurvePrivateKey,
    name: x509.Name,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    public = key.public_key()
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_DIFFER)
        .not_valid_after(now + _VALID)
        # Python 3.13 wants both of them
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(authority, critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternatives(host: str) -> x509.SubjectAlternativeName:
    names: list[x509.GeneralName] = []
    for name in dict.fromkeys((host, "localhost", "127.0.0.1")):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            names.append(x509.DNSName(name))
    return x509.SubjectAlternativeName(names)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _to_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
