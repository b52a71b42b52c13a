"""How the vectors of sealed profiles describe a blob: names that bytes are drawn from, and what is wrong with it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from byokeep.core.canonical import canonical_json
from tests.support.sealed import Sealing, drawn, for_two_keys, frame_of


def sealing_of(recipe: dict[str, Any], fields: dict[str, Any]) -> Sealing:
    """What goes into the blob of a recipe."""
    packed = drawn(*recipe["packed"])
    frame = bytes.fromhex(recipe["frame"]) if "frame" in recipe else frame_of(packed)
    frame = frame[: recipe.get("frame_cut", len(frame))] + bytes.fromhex(recipe.get("frame_more", ""))
    return Sealing(
        dek=drawn(recipe["dek"], 32), dek_id=UUID(recipe["dek_id"]), manifest=canonical_json(fields), packed=packed,
        salt=drawn(recipe["salt"], 32), inner_salt=drawn(recipe["inner"], 32), prefix=drawn(recipe["prefix"], 7),
        version=recipe.get("version", 1), suite=recipe.get("suite", 1), last_at=recipe.get("last_at"), frame=frame,
        empty_last=recipe.get("empty_last", False),
        commitment=drawn(recipe["commitment"], 32) if "commitment" in recipe else None,
    )  # fmt: skip


def blob_of(recipe: dict[str, Any], fields: dict[str, Any]) -> bytes:
    """The blob of a recipe."""
    sealing = sealing_of(recipe, fields)
    if "second" in recipe:
        return for_two_keys(sealing, drawn(recipe["second"], 32), fields)
    return sealing.blob(fields)
