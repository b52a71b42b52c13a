"""Serve the few routes that are called all the time without the framework between the guard and the endpoint.

Rules
- A route is declared once, to the framework: path, dependencies, endpoint and status are read from there. What does not
  match letter for letter is left to the framework.
- A reply goes out as the endpoint made it: its model describes it in the OpenAPI document, and tests hold it to that.
- The order is the framework's: the query is refused, then the dependencies run as declared (who asks, then the body),
  then the ids of the path are read; an error is the same problem document.
- A parameter of an unknown kind stops the process at its start, not a request.

It may not decide anything: every check is a dependency or the flow's.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final
from uuid import UUID

from fastapi.params import Depends
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from byokeep.core.errors import ByokeepError
from byokeep.http.body import PathId, canonical_id, no_query
from byokeep.http.problems import answer, bad_path

Dependency = Callable[[Request], Awaitable[Any]]
_OK: Final = 200


class FastRouter:
    """ASGI middleware: answers ``routes`` itself, hands on everything else. Put it right inside the guard.

    Args:
        app: The framework's application.
        routes: Of that application; each path part is a word or one id.

    Raises:
        TypeError: A route with a parameter that cannot be filled here.
    """

    def __init__(self, app: ASGIApp, routes: Sequence[APIRoute]) -> None:
        self._app = app
        self._routes: dict[tuple[str, int], list[_Route]] = {}
        for declared in routes:
            route = _Route(declared)
            for method in declared.methods or ():
                self._routes.setdefault((method, len(route.parts)), []).append(route)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http" and not scope.get("root_path"):
            parts = scope["path"].split("/")
            for route in self._routes.get((scope["method"], len(parts)), ()):
                if route.matches(parts):
                    await route.serve(parts, scope, receive, send)
                    return
        await self._app(scope, receive, send)


class _Route:
    """One route: where its words and ids stand in the path, and what fills the endpoint's parameters."""

    def __init__(self, declared: APIRoute) -> None:
        self.parts = declared.path.split("/")
        self._declared = declared
        self._words = [(at, part) for at, part in enumerate(self.parts) if not part.startswith("{")]
        self._ids = {part[1:-1]: at for at, part in enumerate(self.parts) if part.startswith("{")}
        self._dependencies: dict[str, Dependency] = {}
        self._of_path: dict[str, int] = {}
        self._request: str | None = None
        for name, parameter in inspect.signature(declared.endpoint, eval_str=True).parameters.items():
            if isinstance(parameter.default, Depends) and parameter.default.dependency is not None:
                self._dependencies[name] = parameter.default.dependency
            elif parameter.annotation is Request:
                self._request = name
            elif parameter.annotation == PathId and name in self._ids:
                self._of_path[name] = self._ids[name]
            else:
                raise TypeError(f"{declared.path}: {name} cannot be filled here")

    def matches(self, parts: list[str]) -> bool:
        """Whether a path is this route's."""
        return all(parts[at] == word for at, word in self._words) and all(parts[at] for at in self._ids.values())

    async def serve(self, parts: list[str], scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        scope["route"] = self._declared
        scope["path_params"] = {name: parts[at] for name, at in self._ids.items()}
        request = Request(scope, receive, send)
        try:
            response = await self._answer(request, parts)
        except ByokeepError as error:
            response = await answer(request, error)
        await response(scope, receive, send)

    async def _answer(self, request: Request, parts: list[str]) -> Response:
        await no_query(request)
        filled: dict[str, Any] = {name: await ask(request) for name, ask in self._dependencies.items()}
        filled |= {name: _id(parts[at]) for name, at in self._of_path.items()}
        if self._request is not None:
            filled[self._request] = request
        found = await self._declared.endpoint(**filled)
        return found if isinstance(found, Response) else JSONResponse(found, self._declared.status_code or _OK)


def _id(text: str) -> UUID:
    try:
        return canonical_id(text)
    except ValueError:
        raise bad_path() from None
