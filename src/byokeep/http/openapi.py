"""The HTTP surface: routes that describe themselves for the OpenAPI document, and replies, one model for each.

Rules
- A route declares its reply model, its status and, with :func:`refusals`, the statuses that its flow can answer. What
  follows from its declaration is added here: 401, 422 and 503 for every route, 404 if something is named in the path,
  413 and 415 if a body is read.
- Every refusal has one shape, :class:`Problem`. Every reference in a document resolves.
- An operation's id is its tag and the name of its endpoint, so it changes only when one of them is renamed.
- The types of an endpoint's parameters say what it needs (:class:`Routes`): an ``Actor`` is who asks, a ``Strict``
  model the body. Who asks is known before the body is read.
- A model shows what it names and nothing else of the noun. What it shows unchanged has the noun's type.
- A reply that does not fit its model is an error of ours: nothing is sent.

It may not change how a request is answered.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from copy import deepcopy
from datetime import UTC, datetime
from functools import cache, partial
from inspect import get_annotations
from types import UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin, get_type_hints

from fastapi import APIRouter, Depends, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.responses import Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema
from starlette.routing import compile_path

from byokeep import __version__
from byokeep.core.model import Actor
from byokeep.http.guard import NO_TELEMETRY
from byokeep.http.request import MEDIA_TYPE, Authenticator, Strict, caller, install, json_body, no_query
from byokeep.kernel.app import App
from byokeep.kernel.command import record_refused_call

Document = dict[str, Any]
BYTES: Final = "application/octet-stream"
NUMBER: Final[Document] = {"type": "integer", "minimum": 0, "maximum": 999_999_999}
INSTANT: Final[Document] = {"type": "string", "format": "date-time"}
TEXT: Final[Document] = {"type": "string"}
ID: Final[Document] = {"type": "string", "format": "uuid"}
PUBLIC: Final[Document] = {"security": []}
_REFS: Final = "#/components/schemas/{model}"
_REFUSED: Final = {
    401: ("Unauthenticated", "No valid credential was shown."),
    403: ("Denied", "The caller may not do this; nothing changed."),
    404: ("NotFound", "There is no such object for this caller."),
    409: ("Conflict", "Another state or another caller is in the way, or stored bytes are not what was written."),
    413: ("TooLarge", "The body is too large."),
    415: ("UnsupportedMediaType", "The body has another media type or encoding than the route reads."),
    422: ("Rejected", "The input is wrong; nothing was stored."),
    429: ("RateLimited", "Too many calls; Retry-After says when to come back."),
    503: ("Unavailable", "A part that must work does not; nothing was released and nothing acted."),
}


class Problem(BaseModel):
    """A refusal (RFC 9457). Further fields are ids, enum values and integers that explain ``code``: docs/errors.md."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, str | int | None]

    type: str
    title: str
    status: int
    code: str
    request_id: str
    next_step: str


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the ``responses`` of a route whose flow can also answer these statuses."""
    return {status: {"description": _REFUSED[status][1]} for status in statuses}


def describe(model: type[Strict], *, required: bool = True) -> Document:
    """Return the ``openapi_extra`` of a route whose body is read by :func:`byokeep.http.request.json_body`."""
    schema = deepcopy(_schema(model))
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": schema}}}}


@cache
def _schema(model: type[Strict]) -> Document:
    return model.model_json_schema(ref_template=_REFS)


def raw_body() -> Document:
    """Return the ``openapi_extra`` of a route that reads its body as it is."""
    schema = {"type": "string", "format": "binary"}
    return {"requestBody": {"required": True, "content": {BYTES: {"schema": schema}}}}


class Routes(APIRouter):
    """The routes of one tag, for callers with a good token; each can refuse with the named statuses.

    A route that declares no parameter of the query (:func:`parameters`) refuses any.

    Args:
        auth: Token and request id to actor.
    """

    def __init__(self, tag: str, auth: Authenticator, *statuses: int, prefix: str = "/v1") -> None:
        super().__init__(
            prefix=prefix, tags=[tag], responses=refusals(*statuses), generate_unique_id_function=operation_id
        )
        self._who = Depends(caller(auth))

    def add_api_route(self, path: str, endpoint: Callable[..., Any], **more: Any) -> None:
        """Add a route; its ``Actor`` and its body are read and described automatically."""
        built: Any = partial(LateRoute, who=self._who)
        super().add_api_route(path, endpoint, route_class_override=built, **more)


class LateRoute(APIRoute):
    """A route that is built when it is first needed: building all of them would be most of a process's start.

    Args:
        path, endpoint, methods, declared: As the framework's.
        who: Who asks, for an endpoint whose parameters' types say what it needs; ``None`` = they do not.
    """

    def __init__(
        self, path: str, endpoint: Callable[..., Any], *, methods: Iterable[str] | None = None, who: Any = None,
        **declared: Any,
    ) -> None:  # fmt: skip
        self.path, self.name, self.methods = path, endpoint.__name__, set(methods or ("GET",))
        self.path_regex, self.path_format, self.param_convertors = compile_path(path)
        self._declared = endpoint, who, declared

    def __getattr__(self, name: str) -> Any:
        """Build the route: anything not known before is asked for here."""
        if "_declared" not in self.__dict__:
            raise AttributeError(name)
        endpoint, who, declared = self.__dict__.pop("_declared")
        more = _told_by_types(endpoint, who, declared) if who is not None else declared
        super().__init__(self.path, endpoint, methods=self.methods, **more)
        return getattr(self, name)


def _told_by_types(endpoint: Callable[..., Any], who: Any, declared: Mapping[str, Any]) -> dict[str, Any]:
    """Give an endpoint what its parameters' types ask for; returns how its route is declared."""
    more = dict(declared)
    described = (more.get("openapi_extra") or {}).get("parameters", ())
    if not any(one["in"] == "query" for one in described):
        more["dependencies"] = [*(more.get("dependencies") or ()), Depends(no_query)]
    signature = inspect.signature(endpoint, eval_str=True)
    found = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in signature.parameters.values()]
    for at, one in enumerate(found):
        if one.annotation is Actor and one.default is one.empty:
            found[at] = one.replace(default=who)
        elif isinstance(one.annotation, type) and issubclass(one.annotation, Strict):
            more["openapi_extra"] = describe(one.annotation) | (more.get("openapi_extra") or {})
            if one.default is one.empty:
                found[at] = one.replace(default=Depends(json_body(one.annotation)))
    found.sort(key=lambda one: one.annotation is not Actor)
    endpoint.__signature__ = signature.replace(parameters=found)  # type: ignore[attr-defined]
    return more


def parameters(schemas: Mapping[str, Document], *, required: bool = False, place: str = "query") -> Document:
    """Return the ``openapi_extra`` of a route that reads these parameters by hand."""
    return {
        "parameters": [
            {"name": name, "in": place, "required": required, "schema": schema} for name, schema in schemas.items()
        ]
    }


def answers(media: str, schema: Document = TEXT) -> dict[int | str, dict[str, Any]]:
    """Return the ``responses`` of a route whose reply is not a model's JSON."""
    return {200: {"description": "Successful Response", "content": {media: {"schema": schema}}}}


def operation_id(route: APIRoute) -> str:
    """Return an operation's id."""
    return f"{next(iter(route.tags), 'process')}_{route.name}".replace("-", "_").rstrip("_")


def take(api: FastAPI, routers: Iterable[APIRouter]) -> None:
    """Put routes into an application as they are; the framework's own inclusion would build each a second time."""
    for routes in routers:
        api.router.routes += routes.routes


def publish(api: FastAPI, others: Callable[[], Document] = dict, routes: Sequence[tuple[str, str]] = ()) -> None:
    """Let ``api`` describe itself by :func:`document`.

    Args:
        others: The document of the process that answers ``routes`` when they are called here.
        routes: Methods and paths that are forwarded.
    """

    def openapi() -> Document:
        if api.openapi_schema is None:
            api.openapi_schema = _with_routes(document(api), others(), routes)
        return api.openapi_schema

    api.openapi = openapi  # type: ignore[method-assign]


def server(
    title: str, app: App, *, ready: Callable[[], Awaitable[dict[str, str]]] | None = None,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None, described: bool = False,
) -> FastAPI:  # fmt: skip
    """Return the application of a process, as yet without routes of its own.

    Args:
        title: The title of its document.
        ready: Whether it is ready; ``None`` = nobody asks, nor whether it answers.
        described: Whether it serves its document to everybody.
    """
    api = FastAPI(
        title=title, version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan, redirect_slashes=False,
        openapi_url="/openapi.json" if described else None, telemetry=NO_TELEMETRY,
    )  # fmt: skip
    install(api, partial(record_refused_call, app))
    publish(api)
    if ready is not None:
        api.add_api_route("/healthz", healthz, include_in_schema=False)
        api.add_api_route("/readyz", ready, include_in_schema=False)
    return api


async def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


def document(api: FastAPI) -> Document:
    """Return the document of an application.

    Raises:
        ValueError: Two schemas have one name.
    """
    made = get_openapi(title=api.title, version=api.version, routes=api.routes)
    components = made.setdefault("components", {})
    schemas: Document = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):  # the framework's own error body, which is never sent
        schemas.pop(name, None)
    schemas["Problem"] = Problem.model_json_schema(ref_template=_REFS)
    components["responses"] = {name: _refused(text, status) for status, (name, text) in _REFUSED.items()}
    components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    made["security"] = [{"bearer": []}]
    for path, operation in operations(made):
        _complete(path, operation, schemas)
    return made


def _with_routes(own: Document, others: Document, routes: Sequence[tuple[str, str]]) -> Document:
    """Add operations from another process's document, with the schemas that they name."""
    if not others:
        return own
    for method, path in routes:
        operation = deepcopy(others["paths"][path][method.lower()])
        if operation.get("security"):
            del operation["security"]  # callers that may be unknown there show a token here
        _refuse(operation, 413, 415)  # every body is read here
        own["paths"].setdefault(path, {})[method.lower()] = operation
        _take(operation, others["components"]["schemas"], own["components"]["schemas"])
    return own


def _take(node: object, others: Document, own: Document) -> None:
    """Add every schema that ``node`` names, and those that these name."""
    if isinstance(node, list):
        for inner in node:
            _take(inner, others, own)
    elif isinstance(node, dict):
        prefix, _, name = str(node.get("$ref", "")).rpartition("/")
        if prefix == _REFS.rpartition("/")[0]:
            known = name in own
            _add(own, name, others[name])
            if not known:
                _take(others[name], others, own)
        for inner in node.values():
            _take(inner, others, own)


def operations(of: Mapping[str, Any]) -> Iterator[tuple[str, Document]]:
    """Yield every operation of a document with its path."""
    for path, item in of["paths"].items():
        for operation in item.values():
            yield path, operation


def _complete(path: str, operation: Document, schemas: Document) -> None:
    for content in operation.get("requestBody", {}).get("content", {}).values():
        schema = content["schema"]
        for name, inner in schema.pop("$defs", {}).items():
            _add(schemas, name, inner)
        if "title" in schema:
            _add(schemas, schema["title"], schema)
            content["schema"] = {"$ref": _REFS.format(model=schema["title"])}
    _refuse(operation, 401, 422, 503, *(int(code) for code in operation["responses"] if int(code) in _REFUSED))
    if "{" in path:
        _refuse(operation, 404)
    if "requestBody" in operation:
        _refuse(operation, 413, 415)


def _refuse(operation: Document, *statuses: int) -> None:
    found = operation["responses"]
    for status in statuses:
        found[str(status)] = {"$ref": f"#/components/responses/{_REFUSED[status][0]}"}
    operation["responses"] = dict(sorted(found.items()))


def _add(schemas: Document, name: str, schema: Document) -> None:
    if schemas.setdefault(name, schema) != schema:
        raise ValueError(f"two schemas are called {name}")


def _refused(text: str, status: int) -> Document:
    headers: Document = {}
    if status == 401:
        headers = {"WWW-Authenticate": {"schema": {"type": "string"}}}
    elif status in (429, 503):
        headers = {"Retry-After": {"schema": {"type": "integer"}}}
    content = {MEDIA_TYPE: {"schema": {"$ref": _REFS.format(model="Problem")}}}
    return {"description": text, "content": content} | ({"headers": headers} if headers else {})


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
