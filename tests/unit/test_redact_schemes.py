"""Authorization headers of schemes that vendors really have, and values under names that say secret."""

from __future__ import annotations

import tomllib

import pytest

from byokeep_redact.automaton import Engine
from byokeep_redact.engine import Redactor
from tests.support.redact_samples import VECTORS, filled, marked

TABLE = tomllib.loads((VECTORS / "schemes.toml").read_text())
CREDENTIALS: list[str] = TABLE["credentials"]
ENGINES: list[Engine] = ["pure", "hyperscan"]


@pytest.fixture(scope="module", params=ENGINES)
def redactor(request: pytest.FixtureRequest) -> Redactor:
    return Redactor(key=b"k" * 32, engine=request.param)


def _left(redactor: Redactor, template: str) -> bytes:
    """What is still there of what must be gone; empty: nothing."""
    for seed in range(3):
        data, spans = marked(filled(template, seed))
        masked = redactor.data(data)
        for start, end in spans:
            if any(data[at : at + 8] in masked for at in range(start, max(start + 1, end - 7))):
                return data
    return b""


@pytest.mark.req("R8.3-2")
@pytest.mark.parametrize("credential", CREDENTIALS, ids=lambda text: text.partition(" ")[0])
def test_an_authorization_header_of_any_scheme_is_masked(redactor: Redactor, credential: str) -> None:
    """In every form in which a header gets into a log, nothing of its credential is left."""
    assert [left for form in TABLE["forms"] if (left := _left(redactor, form.replace("{}", credential)))] == []


def test_there_are_real_schemes_enough() -> None:
    """The list has the schemes that were once missed, and no scheme twice."""
    schemes = [text.replace("=", " ").split()[0] for text in CREDENTIALS]
    assert len(set(schemes)) == len(schemes) >= 34
    assert {"Api-Token", "Splunk", "GenieKey", "SSWS", "DeepL-Auth-Key", "ApiKey-v1"} <= set(schemes)


@pytest.mark.parametrize("values", TABLE["named"][0]["values"])
def test_a_name_that_says_secret_wins_over_the_look_of_a_name(redactor: Redactor, values: str) -> None:
    """`live_<hex>` under `client_secret` is a secret, though identifiers look like that."""
    templates = [
        name + values + (name[-1] if name[-1] in "\"'" else "") + " and more" for name in TABLE["named"][0]["names"]
    ]
    assert [left for template in templates if (left := _left(redactor, template))] == []
