"""What of a list a person named."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import pytest

from byokeep.cli import names
from byokeep.core.errors import ByokeepError
from byokeep.core.secret import Secret
from byokeep.tenancy import clients

ONE, OTHER, LIKE = (f"{start}-0000-4000-8000-000000000000" for start in ("1a2b3c4d", "22222222", "1a2b3c4e"))


def test_one_of_a_list_is_its_name_its_id_or_how_that_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fits none, several, or too few characters is refused."""

    def known(_ids: Sequence[str]) -> dict[str, str]:
        return {ONE: "Acme Bakery/openai", OTHER: "twin", LIKE: "twin"}

    monkeypatch.setattr(names, "names", known)
    for given in ("Acme Bakery/openai", ONE, ONE[:8], ONE[:20]):
        assert names.among(given, {ONE, OTHER, LIKE}, "x") == UUID(ONE)
    for given, code in (("twin", "name_of_several"), ("1a2b3c4", "no_such_name"), ("", "no_such_name")):
        with pytest.raises(ByokeepError) as refused:
            names.among(given, {ONE, OTHER, LIKE}, "x")
        assert refused.value.code == code


def test_what_a_client_has_is_named_by_the_clients_id_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The id before the stroke becomes the client's name; what could be a key behind it is read as before."""
    asked: list[str] = []

    async def call(*_: str, body: dict[str, str], **_more: object) -> dict[str, object]:
        asked.append(body["name"])
        return {"found": [{"id": OTHER, "name": "x"}], "near": []}

    monkeypatch.setattr(names, "names", lambda ids: {ONE: "Acme Bakery"} if list(ids) == [ONE] else {})
    monkeypatch.setattr(names, "call", call)
    monkeypatch.setattr(names, "own_token", lambda: Secret(b"a person's"))
    for given in (f"{ONE}/x/acme", f"{LIKE}/kie"):
        read = names._read(given, ("key",))
        assert isinstance(read, names.GivenName)
        assert names.find(read.name, "key") == UUID(OTHER)
    assert asked == ["Acme Bakery/x/acme", f"{LIKE}/kie"]
    for given in (f"{ONE}/{'a1B' * 9}", f"{ONE}-{ONE}/kie", f"x{ONE}/kie", f"{ONE.upper()}/kie"):
        with pytest.raises(ValueError, match=r"^$"):
            names._read(given, ("key",))


def test_what_holds_the_word_comes_before_what_only_looks_like_it() -> None:
    """All of it as far as there is room: of eight keys of one provider none is left out."""
    known = [clients.Named(id=UUID(ONE), kind="key", name=name, live=True)
             for name in ("kia", *(f"Client {n} with a long name/kie" for n in range(8)))]  # fmt: skip
    found, near = clients._like("kie", known)
    assert (found, [one.name for one in near]) == ([], [one.name for one in (*known[1:], known[0])])
    many = [clients.Named(id=UUID(ONE), kind="client", name=f"Client {n}", live=True) for n in range(30)]
    assert len(clients._like("client", many)[1]) == clients.NEAR
