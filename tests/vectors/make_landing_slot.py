"""Writes the vectors of the landing slot: ``python tests/vectors/make_landing_slot.py``."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from byokeep.adapters.files.slots import MAGIC, encode, seal
from byokeep.core.secret import Secret
from byokeep.wire.tokens import LandedReply

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY, OTHER = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE", "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI"
JOURNAL, NONCE = UUID("00000000-0000-4000-8000-000000000004"), bytes(range(12))
BODY = '{"access_token":"made-up-access","refresh_token":"made-up-refresh"}'


def made() -> list[dict[str, Any]]:
    """The cases."""
    reply = LandedReply(base=7, at=AT, status=200, body=Secret(BODY))
    good = encode(seal(Secret(KEY), JOURNAL, reply, NONCE))
    same = {"key": KEY, "journal": str(JOURNAL)}

    def case(name: str, data: bytes, result: str, **more: Any) -> dict[str, Any]:
        return {"name": name, "begins": b64encode(data).decode(), "result": result, **same, **more}

    def put(at: int, data: bytes) -> bytes:
        return good[:at] + data + good[at + len(data) :]

    return [
        case("a reply", good, "reply", base=7, status=200, body=BODY, nonce=b64encode(NONCE).decode()),
        case("empty", b"", "no_reply"),
        case("magic alone", MAGIC, "no_reply"),
        case("another magic", put(6, b"2"), "no_reply"),
        case("version zero", put(8, bytes(4)), "no_reply"),
        case("torn", good[:-1], "no_reply"),
        case("length too short", put(12, b"\0\0\0\x10"), "no_reply"),
        case("length beyond the slot", put(12, b"\0\x05\x80\0"), "no_reply"),
        case("digest altered", put(28, b"\0\0"), "no_reply"),
        case("padding is not zero", put(60, b"\1"), "no_reply"),
        case("something after the text", good + b"\1", "no_reply"),
        case("file too short", good, "no_reply", size=1024),
        case("file too long", good, "no_reply", ends="AA=="),
        case("version altered", put(8, b"\0\0\0\x08"), "unreadable"),
        case("nonce altered", put(16, b"\xff"), "unreadable"),
        case("of another journal", good, "unreadable", journal="00000000-0000-4000-8000-000000000005"),
        case("under another key", good, "unreadable", key=OTHER),
        case("a key that is none", good, "unreadable", key="short"),
    ]


if __name__ == "__main__":
    place = Path(__file__).parent / "landing-slot" / "cases.json"
    place.write_text(json.dumps({"format": "byokeep-landing-slot/1", "cases": made()}, indent=1) + "\n")
