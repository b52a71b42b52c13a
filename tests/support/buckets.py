"""An S3 server of its own for the tests: moto's, over real HTTP, in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from uuid import uuid4

import boto3
from moto.server import ThreadedMotoServer

CREDENTIALS = "[default]\naws_access_key_id = made-up\naws_secret_access_key = made-up\n"  # moto wants some, any


@contextmanager
def s3_server() -> Iterator[str]:
    """Start it on a free port; yields its base URL."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@cache
def s3_client(endpoint: str):  # type: ignore[no-untyped-def]
    """A client of the library itself, to look behind our adapter and to tamper; one, for it takes long to make."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="made-up",
        aws_secret_access_key="made-up",
    )


def new_bucket(endpoint: str, *, locked: bool = False) -> str:
    """Make a bucket; a locked one keeps versions and knows retention."""
    name = f"artifacts-{uuid4().hex[:12]}"
    s3_client(endpoint).create_bucket(Bucket=name, ObjectLockEnabledForBucket=locked)
    return name


def credentials_file(directory: Path) -> Path:
    """Write the made-up credentials, 0600."""
    file = directory / "s3.credentials"
    file.write_text(CREDENTIALS)
    file.chmod(0o600)
    return file
