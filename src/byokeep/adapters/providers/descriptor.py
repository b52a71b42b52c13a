"""Reads the data file of each provider into one frozen record.

Rules
- A file with an unknown field, or without one, does not load.
- A data file that could put a key in a URL, or a header anywhere but the provider's host, does not load.
- The set of providers is closed and equals ``core.model.API_PROVIDERS``.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

from byokeep.core.data_file import Table
from byokeep.core.model import API_PROVIDERS

MAX_ROTATION_DAYS: Final = 90
_SECRET_QUERY_NAMES: Final = re.compile(r"key|api[-_]?key|.*token|secret|auth.*|password", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckShape:
    """What a key may look like.

    Args:
        min_length: Shortest accepted key, in characters.
        max_length: Longest accepted key, in characters.
        accept: Loose patterns; one must match the whole key.
        recognise: Strict patterns by which a key of this provider is known in another provider's slot.
    """

    min_length: int
    max_length: int
    accept: tuple[re.Pattern[str], ...]
    recognise: tuple[re.Pattern[str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderDescriptor:
    """One provider. ``endpoint`` is the name under which the identity call appears in evidence."""

    provider: str
    published_name: str
    base_url: str
    host: str
    endpoint: str
    path: str
    query: Mapping[str, str]
    auth_header: str
    auth_prefix: str
    extra_headers: Mapping[str, str]
    shape: CheckShape
    rotation_days: int
    rotate_by_api: bool
    docs_url: str


def load(provider: str, document: Mapping[str, Any]) -> ProviderDescriptor:
    """Build a descriptor from a parsed data file.

    Raises:
        ValueError: The file breaks a rule of this module; the message names the field.
    """
    top = Table(provider, document)
    base = urlsplit(top.take("base_url", str))
    identity, auth, shape = top.table("identity"), top.table("auth"), top.table("shape")
    if base.scheme != "https" or not base.hostname or base.username or base.query or base.path not in ("", "/"):
        raise ValueError(f"{provider}: base_url must be https://host")
    accept, recognise = (
        tuple(re.compile(pattern, re.ASCII) for pattern in shape.texts(name)) for name in ("accept", "recognise")
    )
    found = top.fill(
        ProviderDescriptor,
        provider=provider,
        base_url=f"https://{base.netloc}",
        host=base.hostname,
        endpoint=identity.take("name", str),
        path=identity.take("path", str),
        query=identity.templates("query"),
        auth_header=auth.take("header", str).lower(),
        auth_prefix=auth.take("prefix", str),
        extra_headers=auth.templates("extra"),
        shape=shape.fill(CheckShape, accept=accept, recognise=recognise),
    )
    identity.done()
    auth.done()
    if "?" in found.path or not found.path.startswith("/"):
        raise ValueError(f"{provider}: the identity path takes no query")
    if any(_SECRET_QUERY_NAMES.fullmatch(name) for name in found.query):
        raise ValueError(f"{provider}: a credential may not be a query parameter")
    if not 1 <= found.rotation_days <= MAX_ROTATION_DAYS:
        raise ValueError(f"{provider}: rotation_days must be 1 to {MAX_ROTATION_DAYS}")
    return found


def _load_all() -> Mapping[str, ProviderDescriptor]:
    folder = resources.files("byokeep.adapters.providers").joinpath("data")
    found = {}
    for provider in sorted(API_PROVIDERS):
        text = folder.joinpath(f"{provider}.toml").read_text(encoding="utf-8")
        found[str(provider)] = load(str(provider), tomllib.loads(text))
    return MappingProxyType(found)


DESCRIPTORS: Final[Mapping[str, ProviderDescriptor]] = _load_all()
