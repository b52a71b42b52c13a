"""Replies: one model for each, which reads a noun's attributes and writes them as the surface does.

Rules
- A model shows what it names and nothing else of the noun.
- A reply that does not fit its model is an error of ours: nothing is sent.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, PlainSerializer, WithJsonSchema

_INSTANT = WithJsonSchema({"type": "string", "format": "date-time"})


def at_out(at: datetime) -> str:
    """Return the wire form of a time: UTC, with ``Z``."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


At = Annotated[datetime, PlainSerializer(at_out, when_used="json"), _INSTANT]
AtOffset = Annotated[datetime, PlainSerializer(datetime.isoformat, when_used="json"), _INSTANT]  # of most broker routes


class Reply(BaseModel):
    """A reply."""

    model_config = ConfigDict(
        from_attributes=True, frozen=True, hide_input_in_errors=True, validate_by_name=True, validate_by_alias=True
    )

    @classmethod
    def fields(cls, noun: Any) -> dict[str, Any]:
        """Return what a reply says of a noun, for a reply that says more."""
        return cls.model_validate(noun).model_dump()

    @classmethod
    def answer(cls, noun: Any, status: int) -> Response:
        """Return a noun as a reply with a status that only the flow knows."""
        return Response(cls.model_validate(noun).model_dump_json(), status, media_type="application/json")
