"""A small social platform that counts what was done on it.

Rules
- A new effect counts once; a repeat with the same idempotency key returns the first effect.
- Reading an identity is never an effect.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from byokeep_sim.book import Book, BookFullError
from byokeep_sim.reply import SimReply

NAME: Final = "platform"
_PART: Final = r"[A-Za-z0-9_.-]{1,64}"
_PATH: Final = re.compile(rf"/(?P<platform>{_PART})/(?P<account>{_PART})/(?P<what>[a-z]+)(?:/(?P<id>{_PART}))?")
_KINDS: Final = {"posts": "publish", "comments": "comment", "messages": "dm", "likes": "engage"}
_CODES: Final = {400: "bad_request", 401: "unauthorized", 403: "forbidden", 404: "not_found", 429: "rate_limited"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformCall:
    """One call to the platform."""

    method: str
    path: str
    idempotency_key: str = ""


def error(status: int, code: str = "") -> SimReply:
    """Return the platform's error body for a status."""
    return SimReply(status=status, body={"error": {"code": code or _CODES.get(status, "error")}})


def stranger(call: PlatformCall) -> SimReply:
    """Return the identity of an account that nobody asked for."""
    return SimReply(status=200, body={"id": "stranger-1", "username": "stranger", "display_name": "Somebody Else"})


def answer(book: Book, call: PlatformCall) -> SimReply:
    """Answer one call; a POST or DELETE that succeeds is one effect."""
    found = _PATH.fullmatch(call.path)
    if found is None:
        return error(404)
    platform, account, what, target = found["platform"], found["account"], found["what"], found["id"]
    if call.method == "GET" and what == "identity" and target is None:
        return SimReply(status=200, body=book.accounts.get(platform, account))
    if call.method == "POST" and what in _KINDS and target is None:
        return _effect(book, platform, account, _KINDS[what], call.idempotency_key, 201)
    if call.method == "DELETE" and what == "posts" and target is not None:
        return _delete(book, platform, account, target, call.idempotency_key)
    return error(404)


def _delete(book: Book, platform: str, account: str, target: str, idempotency_key: str) -> SimReply:
    replayed = book.effects.replay(platform, account, "delete", idempotency_key)
    post = book.effects.posts.get(target)
    if replayed is None and (post is None or (post.platform, post.account) != (platform, account)):
        return error(404)
    reply = _effect(book, platform, account, "delete", idempotency_key, 200)
    if reply.status == 200:
        book.effects.posts.pop(target, None)
    return reply


def _effect(book: Book, platform: str, account: str, kind: str, idempotency_key: str, status: int) -> SimReply:
    effect = book.effects.replay(platform, account, kind, idempotency_key)
    replayed = effect is not None
    if effect is None:
        try:
            effect = book.effects.add(platform, account, kind, idempotency_key)
        except BookFullError:
            return error(507, "too_many_accounts")
    body = {"id": effect.id, "kind": effect.kind, "replayed": replayed}
    return SimReply(status=200 if replayed else status, body=body)
