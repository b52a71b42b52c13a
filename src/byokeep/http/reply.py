"""Replies: one model for each, which reads a noun's attributes and writes them as the surface does.

Rules
- A model shows what it names and nothing else of the noun. What it shows unchanged has the noun's type.
- A reply that does not fit its model is an error of ours: nothing is sent.
"""

from __future__ import annotations

from datetime import UTC, datetime
from inspect import get_annotations
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from fastapi.responses import Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

_INSTANT = WithJsonSchema({"type": "string", "format": "date-time"})


def at_out(at: datetime) -> str:
    """Return the wire form of a time: UTC, with ``Z``."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


At = Annotated[datetime, PlainSerializer(at_out, when_used="json"), _INSTANT]
Hex = Annotated[bytes, PlainSerializer(bytes.hex, return_type=str)]
AtOffset = Annotated[datetime, PlainSerializer(datetime.isoformat, when_used="json"), _INSTANT]  # of most broker routes


def _shown_as(hint: Any, at: Any) -> Any:
    """Return a noun's field's wire type: a time as ``at``, bytes in hex, a set as a sorted list, a tuple as a list."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint in (datetime, bytes):
        return at if hint is datetime else Hex
    if origin in (Union, UnionType):
        return Union[tuple(_shown_as(one, at) for one in inner)]  # noqa: UP007 - the members are known only here
    if origin is frozenset:
        return Annotated[list[inner[0]], BeforeValidator(sorted)]  # type: ignore[valid-type]
    return list[inner[0]] if origin is tuple else hint  # type: ignore[valid-type]


class Reply(BaseModel):
    """A reply. ``class X(Reply, of=Noun, shows="id name")`` has these fields of the noun, with the noun's types.

    ``work=id`` shows a field under another name; a field of its own may stand among them, for order.
    """

    model_config = ConfigDict(
        from_attributes=True, frozen=True, hide_input_in_errors=True, validate_by_name=True, validate_by_alias=True
    )

    def __init_subclass__(cls, *, of: type | None = None, shows: str = "", at: Any = At, **more: Any) -> None:
        """Take the named fields from a noun, before those that the class declares itself."""
        if of is not None:
            hints, own = get_type_hints(of), get_annotations(cls)
            taken: dict[str, Any] = {}
            for text in shows.split():
                name, _, field = text.rpartition("=")
                if text in own:
                    taken[text] = own[text]
                    continue
                hint = hints[field] if field in hints else get_type_hints(getattr(of, field).fget)["return"]
                shown = _shown_as(hint, at)
                taken[name or field] = Annotated[shown, Field(validation_alias=field)] if name else shown
            cls.__annotations__ = taken | own
        super().__init_subclass__(**more)

    @classmethod
    def fields(cls, noun: Any, **more: Any) -> dict[str, Any]:
        """Return what a reply says about a noun, and what only the flow knows."""
        names = {name: str(field.validation_alias or name) for name, field in cls.model_fields.items()}
        return {name: getattr(noun, field) for name, field in names.items() if name not in more} | more

    @classmethod
    def answer(cls, noun: Any, status: int) -> Response:
        """Return a noun as a reply with a status that only the flow knows."""
        return Response(cls.model_validate(noun).model_dump_json(), status, media_type="application/json")
