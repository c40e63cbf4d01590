"""The application: every route with its roles and its description, and what is around them all."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from persuadable import __version__
from persuadable.errors import PersuadableError
from persuadable.service.core import Service
from persuadable.service.logs import Lines
from persuadable.service.manual import manual
from persuadable.service.observe import Observe, refusal, request_id
from persuadable.service.problems import response
from persuadable.service.routes.described import MODELS, TAGS, WORDS
from persuadable.service.routes.route import Direct
from persuadable.service.routes.table import routes
from persuadable.service.settings import Settings

__all__ = ["build"]


def build(settings: Settings, lines: Lines | None = None, beat: Callable[[], None] | None = None) -> FastAPI:
    """The application of one worker; it starts and stops with its lifespan.

    Args:
        settings: how it is set up.
        lines: where its log goes; standard output by default.
        beat: called several times a second as long as it is well.
    """
    service = Service(settings, lines, beat)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            await service.start()
        except PersuadableError as error:
            print(f"Error: {error}", file=sys.stderr, flush=True)
            raise SystemExit(2) from None
        try:
            yield
        finally:
            await service.stop()

    app = Application(
        title="persuadable",
        version=__version__,
        description=WORDS,
        openapi_tags=TAGS,
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    app.router.routes[:0] = routes(service)
    app.router.routes += manual()
    app.observe_with(service)
    for kind in (RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, _refused)
    app.openapi = lambda: _description(app, settings.max_units)  # type: ignore[method-assign]
    return app


class Application(FastAPI):
    """A FastAPI application that is observed as a whole, and looks its own addresses up instead of searching for them.

    FastAPI compares a request with each address in turn, inside half a dozen layers; a direct route needs none of them.
    """

    def observe_with(self, service: Service) -> None:
        """Observe every request, and look direct routes up."""
        self._direct: dict[tuple[str, str], Direct] = {
            (method, route.path): route
            for route in self.routes
            if isinstance(route, Direct) and "{" not in route.path
            for method in route.methods or ()
        }
        self._observed = Observe(self._answer, metrics=service.metrics, log=service.log, notes=service.notes)
        service.tell = self._observed.tell

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        await self._observed(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (route := self._direct.get((scope["method"], scope["path"]))) is not None:
            scope["route"] = route
            await route.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


async def _refused(request: Request, error: Exception) -> Response:
    """What FastAPI or a route of FastAPI's refuses, as a problem document."""
    problem = refusal(request.scope, error)
    if problem.kind.slug == "method":
        problem.headers["Allow"] = ", ".join(_allowed(request))
    return response(problem, request_id(request.scope))


def _allowed(request: Request) -> list[str]:
    """The methods of every route at this address."""
    there = (route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE)
    return sorted({method for route in there for method in route.methods})


def _description(app: FastAPI, most_units: int) -> dict[str, Any]:
    """The OpenAPI document, made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, tags=app.openapi_tags, routes=app.routes
        )
        _, schemas = models_json_schema(
            [(model, "serialization") for model in MODELS], ref_template="#/components/schemas/{model}"
        )
        components = document.setdefault("components", {})
        components["schemas"] = components.get("schemas", {}) | schemas["$defs"]
        for name, places in (("ScoreRequest", "units"), ("OutcomesRequest", "outcomes")):
            components["schemas"][name]["properties"][places]["maxItems"] = most_units
        components["securitySchemes"] = {
            "key": {
                "type": "http",
                "scheme": "bearer",
                "description": "An API key, psk_…, with the right role.",
            }
        }
        app.openapi_schema = document
    return app.openapi_schema
