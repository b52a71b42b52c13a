"""What of a list a person named."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import pytest

from byokeep.cli import names
from byokeep.core.errors import ByokeepError

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
