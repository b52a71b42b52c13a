"""Names where a command takes an id: of a client, person or machine, key, account, profile or job.

Rules
- A name becomes an id only here. A parameter of one of these types takes both; the server says what a name stands for,
  among the caller's clients.
- Nothing is asked before all words of a command were understood.
- Nothing is guessed: a name that nothing has, and one that several have, are refused, with what may have been meant.
- What was given is never printed back: it may be a pasted key. What could be one is not sent either.
- Whoever stops or destroys something reads its name and its id: :func:`said_of`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from inspect import BoundArguments
from typing import Annotated, Any, Final, NamedTuple
from uuid import UUID

from cyclopts import Parameter, Token

from byokeep.cli.api import OF_MACHINES, call, names, own_token, run
from byokeep.cli.terminal import say, session
from byokeep.core.errors import NotFound, Rejected, Unavailable
from byokeep.core.plain_text import SECRET_START

_NAME: Final = re.compile(r"\w[\w ._&'()/-]{0,255}\Z")
_LONG: Final = re.compile(r"[A-Za-z0-9_-]{25,}")
_OF_ID: Final = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/")  # what a client has, by the client's id
_MOST_SHOWN: Final = 8
_FIND_S: Final = 5.0  # seconds: a `web` that hangs may not hold up who wants to stop something
_AS_SHOWN: Final = {
    "account": "`byokeep account list` shows it, or CLIENT/PLATFORM/ACCOUNT",
    "client": "`byokeep client list` shows it",
    "incident": "`byokeep incident list` shows it, or CLIENT/KIND",
    "job": "`byokeep job list` shows it, or how it begins", "key": "`byokeep key list` shows it, or CLIENT/PROVIDER",
    "profile": "`byokeep profile list` shows it, or CLIENT/PLATFORM/ACCOUNT",
}  # fmt: skip


class GivenName(NamedTuple):
    """What a caller named, before the server is asked about it."""

    name: str
    kinds: Sequence[str]


def resolved(bound: BoundArguments) -> BoundArguments:
    """Replace names by ids. Raises as :func:`find`."""
    try:
        for place, given in bound.arguments.items():
            if isinstance(given, GivenName):
                bound.arguments[place] = find(given.name, *given.kinds)
            elif isinstance(given, list):
                bound.arguments[place] = [
                    find(one.name, *one.kinds) if isinstance(one, GivenName) else one for one in given
                ]
    except Unavailable as error:
        if "everything" in bound.signature.parameters:  # a kill needs no name
            error.next_step = (
                "Names are known to `web` and the database, which do not answer: give the client's id, or --everything."
                " Ids stand in `byokeep client list --json` that was kept, and where a runner's jobs are opened."
                " To stop: on the host of the kill process `byokeep kill panic --client ID`."
            )
        raise
    return bound


def find(named: str, *kinds: str) -> UUID:
    """Return the id of what a caller named; an id stands for itself.

    Raises:
        NotFound: ``no_such_name``.
        Rejected: ``name_of_several``; ``name_needs_a_person``: the token is a machine's.
        ByokeepError: As :func:`byokeep.cli.api.call`.
    """
    with suppress(ValueError):
        return UUID(named)
    machine = False
    with suppress(Rejected):  # none: the call says so
        machine = own_token().reveal().startswith(OF_MACHINES)
    if machine:
        step = "A machine's token cannot look up names: give ids, or a person's token with --token-file."
        raise Rejected("name_needs_a_person", next_step=step)
    if of := _OF_ID.match(named):
        named = f"{names([of[1]]).get(of[1], of[1])}/{named[of.end() :]}"
    reply: Any = run(call("POST", "/v1/names/find", body={"kinds": kinds, "name": named}, within_s=_FIND_S))
    found, near = reply["found"], reply["near"]
    if len(found) == 1:
        return UUID(found[0]["id"])
    if found:
        raise Rejected("name_of_several", next_step=f"Give the id: {_listed(found)}.")
    shown = f"Give a name or an id as {_AS_SHOWN.get(kinds[0], '`byokeep operator list` shows it')}."
    raise NotFound("no_such_name", next_step=f"Did you mean {_listed(near)}? {shown}" if near else shown)


def among(given: str, ids: Collection[str], shown: str) -> UUID:
    """Return which of these ids was named: by its name, by itself or by how it begins, eight characters or more.

    Args:
        shown: The command that shows them.

    Raises:
        NotFound: ``no_such_name``.
        Rejected: ``name_of_several``.
    """
    known = names(sorted(ids)) if given not in ids else {}
    fits = [one for one in sorted(set(ids)) if known.get(one) == given or one.startswith(given.ljust(8))]
    if len(fits) == 1:
        return UUID(fits[0])
    if fits:
        raise Rejected("name_of_several", next_step=f"Give the id: {', '.join(fits[:_MOST_SHOWN])}.")
    raise NotFound("no_such_name", next_step=f"Give a name or an id as `{shown}` shows it.")


def _listed(candidates: Sequence[dict[str, str]]) -> str:
    shown = [f"{one['name']} ({one['id']})" if one["name"] != one["id"] else one["id"] for one in candidates]
    more = f" and {len(shown) - _MOST_SHOWN} more" if len(shown) > _MOST_SHOWN else ""
    return ", ".join(shown[:_MOST_SHOWN]) + more


def said_of(what: str, *ids: UUID | str, known: Mapping[str, str] | None = None) -> None:
    """Confirm in one line what a command stopped or destroyed: ``Suspended: Acme (7f0c9b1e-...)``.

    ``known`` are names that were already asked for.
    """
    if session().as_json:  # nobody reads it, and a program waits for no names
        return
    known = names([str(one) for one in ids]) if known is None else known
    say(f"{what}: " + ", ".join(f"{known[str(one)]} ({one})" if str(one) in known else str(one) for one in ids))


def _one(*kinds: str) -> Callable[[Any, Sequence[Token]], UUID | GivenName]:
    return lambda _, tokens: _read(tokens[0].value, kinds)


def _each(*kinds: str) -> Callable[[Any, Sequence[Token]], list[UUID | GivenName]]:
    return lambda _, tokens: [_read(token.value, kinds) for token in tokens]


def _read(text: str, kinds: Sequence[str]) -> UUID | GivenName:
    """Take an id, or what could be a name. Raises ValueError: it is neither."""
    with suppress(ValueError):
        return UUID(text)
    unnamed = _OF_ID.sub("", text, count=1) if _OF_ID.match(text) else text
    if not _NAME.match(text) or SECRET_START.search(unnamed) or _LONG.search(unnamed):
        raise ValueError
    return GivenName(text, kinds)


Client = Annotated[UUID, Parameter(converter=_one("client"), metavar="NAME|ID")]
Clients = Annotated[list[UUID], Parameter(converter=_each("client"), metavar="NAME|ID")]
Incident = Annotated[UUID, Parameter(converter=_one("incident"), metavar="NAME|ID")]
Key = Annotated[UUID, Parameter(converter=_one("key"), metavar="NAME|ID")]
Account = Annotated[UUID, Parameter(converter=_one("account"), metavar="NAME|ID")]
Profile = Annotated[UUID, Parameter(converter=_one("profile"), metavar="NAME|ID")]
RunningJob = Annotated[UUID, Parameter(converter=_one("job"), metavar="NAME|ID")]
Subject = Annotated[UUID, Parameter(converter=_one("operator", "machine"), metavar="NAME|ID")]
Machine = Annotated[UUID, Parameter(converter=_one("machine"), metavar="NAME|ID")]
Person = Annotated[UUID, Parameter(converter=_one("operator"), metavar="NAME|ID")]
