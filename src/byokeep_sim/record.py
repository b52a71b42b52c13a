"""The log line of one request.

Rules
- Names of query fields, form fields and headers are kept; of values only salted hashes of credentials.
- Written before the answer, faults included.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from aiohttp import web

from byokeep_sim.book import Book

_CREDENTIAL_HEADERS: Final = ("authorization", "x-api-key", "x-goog-api-key", "api-key", "cookie")
_CREDENTIAL_QUERY: Final = frozenset({"key", "api_key", "apikey", "access_token", "token"})
# Fields of OAuth calls that nobody but the platform may see.
SECRET_FIELDS: Final = (
    "client_secret",
    "code",
    "code_verifier",
    "refresh_token",
    "access_token",
    "fb_exchange_token",
    "input_token",
    "token",
    "appsecret_proof",
)


async def record(book: Book, request: web.Request, vendor: str, key: str, **more: Any) -> None:
    """Log one request; ``more`` are further JSON-ready fields."""
    body = await request.read()
    credentials = [{"header": name, "hash": book.keys.digest(value)} for name, value in _credentials(book, request)]
    book.log.add(
        {
            "vendor": vendor,
            "method": request.method,
            "host": request.host[:255],
            "path": _safe_path(book, request.path, key),
            "query_names": sorted(request.query.keys())[:50],
            "header_names": sorted({name.lower() for name in request.headers})[:100],
            "auth": credentials[0] if credentials else None,
            "other_auth": credentials[1:],
            "key_in_url": _key_in_url(book, request, key),
            "body_length": len(body),
            **more,
        }
    )


def secrets_of(book: Book, sources: Iterable[tuple[str, Mapping[str, str]]]) -> list[dict[str, str]]:
    """Return place, name and hash of each secret field.

    Args:
        sources: Place (``query`` or ``form``) and its fields.
    """
    return [
        {"in": place, "name": name, "hash": book.keys.digest(fields[name])}
        for place, fields in sources
        for name in SECRET_FIELDS
        if fields.get(name)
    ]


def _credentials(book: Book, request: web.Request) -> list[tuple[str, str]]:
    found = []
    for name, value in request.headers.items():
        bare = value.partition(" ")[2] if value.lower().startswith(("bearer ", "basic ")) else value
        if name.lower() in _CREDENTIAL_HEADERS or book.keys.is_known(bare):
            found.append((name.lower(), bare))
    return found[:10]


def _key_in_url(book: Book, request: web.Request, key: str) -> bool:
    values = [*request.path.split("/"), *request.query.values()]
    named = any(name.lower() in _CREDENTIAL_QUERY for name in request.query)
    return named or any(v and book.keys.is_known(v) for v in values) or bool(key and key in request.path_qs)


def _safe_path(book: Book, path: str, key: str) -> str:
    parts = ["[key]" if part and (part == key or book.keys.is_known(part)) else part for part in path.split("/")]
    return "/".join(parts)[:512]
