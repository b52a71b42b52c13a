"""Keyless credentials: what byokeep keeps of one, and how its client's identity token is swapped at the provider.

Rules
- A keyless credential is ids of the provider, stored where a key would be (:func:`declaration`). No key begins like
  that: a submitted JSON document is refused as a key (``json_not_key``).
- An :class:`Exchange` comes from the provider's data file. The ids and the token are put into it only where the token
  is.

It may not hold a token.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from byokeep.core.canonical import canonical_json, read_json
from byokeep.core.errors import Rejected
from byokeep.core.plain_text import holds_secret

IDENTITY_LIFE_S: Final = 60  # how long an identity token can be swapped
TOKEN: Final = "$token"  # noqa: S105 - where the identity token goes in a body
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
_BEGINS: Final = b'{"keyless":'


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """How a provider swaps an identity token for a short-lived token of its own.

    Attributes:
        url: Where to ask; https, or a simulator on this machine.
        audience: What the identity token says it is for.
        headers: Of the request.
        body: Fields; :data:`TOKEN` stands for the identity token, ``$name`` for an id.
        form: The body is a form; otherwise it is JSON.
        needs, may: Names of the ids that must and that may be declared.
        life_s: For how many seconds its token is used at most, even if the provider lets it live longer.
        header, prefix, extra: How that token is shown to the provider, and which headers go with it.
    """

    url: str
    audience: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, str]
    form: bool = False
    needs: tuple[str, ...]
    may: tuple[str, ...] = ()
    life_s: int
    header: str = "authorization"
    prefix: str = "Bearer "
    extra: Mapping[str, str] = field(default_factory=dict)

    def filled(self, ids: Mapping[str, str], token: str) -> bytes:
        """Return the body as it is sent, without the fields of ids that were not declared."""
        known = {f"${name}": value for name, value in ids.items()} | {TOKEN: token}
        said = {name: known.get(text, text) for name, text in self.body.items() if text[:1] != "$" or text in known}
        return (urlencode(said) if self.form else json.dumps(said)).encode()


def check_ids(ids: Mapping[str, str], exchange: Exchange) -> None:
    """Check that these are the ids that a provider needs. Raises Rejected(``bad_provider_ids``)."""
    known = set(exchange.needs) <= set(ids) <= {*exchange.needs, *exchange.may}
    if not known or not all(_ID.match(one) for one in ids.values()) or holds_secret(",".join(ids.values())):
        asked = ",".join([*(f"{name}=ID" for name in exchange.needs), *(f"[{name}=ID]" for name in exchange.may)])
        raise Rejected("bad_provider_ids", next_step=f"Give ids of the provider, and no key: --at {asked}.")


def declaration(ids: Mapping[str, str]) -> bytes:
    """Return a keyless credential as it is stored."""
    return canonical_json({"keyless": dict(ids)})


def declared(value: bytes) -> dict[str, str] | None:
    """Return the ids of a keyless credential; None if it is a key."""
    if not value.startswith(_BEGINS):
        return None
    found: Any = read_json(value)
    return {str(name): str(text) for name, text in found["keyless"].items()}


def identity_path(client_id: UUID | str, provider: str, what: str = "token") -> str:
    """Return the store's path that makes a client's identity tokens for a provider; ``role``: where this is set up."""
    return f"identity/oidc/{what}/{client_id}-{provider}"
