"""The report of a recovery drill: what its parser takes, how it is signed and read; and the one way out of a drill."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from byokeep.accounts.refresher_app import logins
from byokeep.adapters.providers.descriptor import DESCRIPTORS
from byokeep.core import drill, evidence
from byokeep.core.errors import Integrity, Rejected
from byokeep.processes import wiring
from byokeep.processes.drill import shred
from byokeep.processes.drill_steps import Egress
from byokeep.settings import Settings

CASES = json.loads((Path(__file__).parents[1] / "vectors" / "drill" / "reports.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_a_report_is_read_as_it_is_written_or_refused(case: dict[str, Any]) -> None:
    """Good ones come back member for member; each bad one is refused, also when it is signed."""
    if case["good"]:
        assert drill.parse(case["report"]).members() == case["report"]
        return
    with pytest.raises((ValueError, KeyError, TypeError)):
        drill.parse(case["report"])


def test_an_altered_report_is_refused() -> None:
    """A signed report is read with the public key alone; altered, signed by another or unsound it is not."""
    key, good = Ed25519PrivateKey.generate(), CASES[0]["report"]
    keys = {"1": key.public_key().public_bytes_raw()}

    def signed(payload: bytes) -> bytes:
        return evidence.envelope(payload, signature=key.sign(evidence.pae(payload)), key_id="1")

    payload = evidence.drill_statement(good)
    found = evidence.read_report(signed(payload), keys, evidence.DRILL)
    assert found is not None
    assert found[0] == good
    assert evidence.read_report(signed(payload), keys, evidence.DUE) is None
    stands = evidence.envelope(payload.replace(b'"rto_s":170', b'"rto_s":17'), signature=key.sign(b""), key_id="1")
    with pytest.raises(Integrity, match="bad_evidence_signature"):
        evidence.read_report(stands, keys, evidence.DRILL)
    for unsound in (payload.replace(b'"outcome":"passed"', b'"outcome":"failed"'), payload.replace(b"170", b"171")):
        with pytest.raises(Integrity, match="bad_statement"):
            evidence.read_report(signed(unsound), keys, evidence.DRILL)


def test_the_way_out_of_a_drill_leads_to_identity_calls_alone() -> None:
    """Each provider and platform has one; token endpoints, other methods and other paths are refused unsent."""
    calls = wiring.identity_urls(Settings())
    assert len(calls) == len(DESCRIPTORS) + len(logins())
    assert calls["GET", "https://api.x.com/2/users/me"] == "x.identity"
    out = Egress(calls)
    tokens = [call for one in logins().values() for call in (one.exchange, one.refresh, *one.revoke)]
    others = ("GET", "https://api.openai.com/v1/files"), ("DELETE", "https://api.openai.com/v1/models")
    for method, url in [*((call.method, call.url) for call in tokens), *others]:
        with pytest.raises(Rejected, match="host_not_allowed"):
            out.ask(method, url)
    assert not out.asked


def test_what_a_drill_leaves_is_removed(tmp_path: Path) -> None:
    """Keys and credentials are overwritten, everything goes, and a place that is not there is fine."""
    place = tmp_path / "drill"
    key = place / "home" / "keys" / "seal.key"
    key.parent.mkdir(parents=True)
    key.write_bytes(b"k" * 32)
    other = tmp_path / "same"
    other.hardlink_to(key)
    shred(place)
    shred(place)
    assert not place.exists()
    assert other.stat().st_size == 32
    assert other.read_bytes() != b"k" * 32
