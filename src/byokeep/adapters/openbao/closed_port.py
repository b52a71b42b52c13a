"""Certificates of a TLS port at which nobody can identify himself.

The port asks for a client certificate of an authority whose private key is dropped here, before the port exists.

It may not keep or return that key.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from byokeep.kernel.durable_write import durable_write

_LIFE: Final = timedelta(days=3650)


def write(directory: Path) -> None:
    """Write ``closed-port.pem``, ``closed-port.key`` and ``closed-port-ca.pem``, new ones at each call."""
    server = generate_private_key(SECP256R1())
    forgotten = generate_private_key(SECP256R1())
    pem, key = Encoding.PEM, server.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    durable_write(directory / "closed-port.key", key)
    durable_write(directory / "closed-port.pem", _self_signed(server, "closed-port.invalid").public_bytes(pem))
    durable_write(directory / "closed-port-ca.pem", _self_signed(forgotten, "nobody.invalid").public_bytes(pem))


def _self_signed(key: EllipticCurvePrivateKey, name: str) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + _LIFE)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
