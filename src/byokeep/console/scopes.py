"""What a kill switch stops, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from byokeep.core.model import Actor
from byokeep.kernel.app import WebApp
from byokeep.tenancy import clients
from byokeep.tenancy.scopes import scope_from_name


async def in_words(app: WebApp, actor: Actor, scopes: Sequence[str]) -> Mapping[str, str]:
    """Return what each switch stops, by the switch's name; clients are named if the actor may know the name.

    Raises:
        Rejected: ``bad_scope``.
    """
    known = {name: scope_from_name(name) for name in scopes}
    ids = {one.client_id for one in known.values() if one.client_id is not None}
    names = await clients.names_of(app, actor, ids) if ids else {}
    found = {}
    for name, one in known.items():
        whose = "Everything" if one.client_id is None else names.get(one.client_id, str(one.client_id))
        if one.lane and one.client_id is None:
            whose = "Every client"
        part = f", {one.platform}" if one.platform else f", {one.lane} lane" if one.lane else ""
        found[name] = whose + part
    return found
