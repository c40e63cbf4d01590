"""A route of ours: the key is looked at first, bytes come and go, and it is documented like any other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import orjson
from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from persuadable.service.access import Access, Caller
from persuadable.service.loopback import is_loopback
from persuadable.service.observe import CALLER, LATE, header, refusal, request_id
from persuadable.service.problems import Problem, documented, response

__all__ = [
    "JSON",
    "Call",
    "Direct",
    "Guarded",
    "Roles",
    "answer",
    "json_of",
    "require_length",
    "require_type",
    "too_large",
]

JSON = "application/json"
Roles = frozenset[str]
# What any request with a key may meet, and any request at all.
ALWAYS = ("headers-too-large", "unexpected")
KEYED = ("foreign-host", "no-key", "unknown-key", "role", "too-many-requests", "not-ready")


class Call(NamedTuple):
    """One request, as a direct route takes it."""

    scope: Scope
    receive: Receive
    caller: Caller

    def header(self, name: bytes) -> str | None:
        """A header, by its lower-case name."""
        return header(self.scope, name)

    def query(self, name: str, default: str) -> str:
        """A parameter of the address; the last, where it is repeated."""
        return dict(self.parameters()).get(name, default)

    def parameters(self) -> list[tuple[str, str]]:
        """All parameters of the address, in order."""
        return parse_qsl(str(self.scope["query_string"], "latin-1"), keep_blank_values=True)

    async def body(self, most: int) -> bytes:
        """The whole body.

        Raises:
            Problem: it has more bytes than allowed (413), found out before they are read into memory, does not come
                (408), or breaks off (400).
        """
        require_length(self.scope, most)
        body, more = await self.piece()
        if not more:
            return _within(body, most)
        parts, size = [body], len(body)
        while more and size <= most:
            body, more = await self.piece()
            parts.append(body)
            size += len(body)
        return _within(b"".join(parts), most)

    async def piece(self) -> tuple[bytes, bool]:
        """The next piece of the body, and whether more follows.

        Raises:
            Problem: it does not come (408), or the body breaks off (400).
        """
        message = await self.receive()
        if LATE in self.scope:
            said = f"Nothing of the body came for {self.scope[LATE]:g} seconds"
            raise Problem("timeout", said, headers={"Connection": "close"})
        if message["type"] == "http.disconnect":
            raise Problem("malformed", "The body broke off")
        return message.get("body", b""), message.get("more_body", False)


Endpoint = Callable[[Call], Awaitable[Response]]


def require_length(scope: Scope, most: int) -> None:
    """Refuse a body that says it is too large, before it is read."""
    told = header(scope, b"content-length")
    if told is not None and told.isdigit() and int(told) > most:
        raise too_large(most)


def _within(body: bytes, most: int) -> bytes:
    if len(body) > most:
        raise too_large(most)
    return body


def too_large(most: int) -> Problem:
    """The problem of a body that is too large."""
    # What the client is still sending is not waited for.
    return Problem("too-large", f"The body has more than {most:,} bytes", headers={"Connection": "close"})


def require_type(call: Call, *types: str) -> str:
    """The body's media type, which is one of these.

    Raises:
        Problem: it is another (415), or not said.
    """
    told = (call.header(b"content-type") or "").partition(";")[0].strip().lower()
    if told not in types:
        said = f"is {told!r}" if told else "has no Content-Type"
        raise Problem("media-type", f"The body {said}", remedy=f"Send the header 'Content-Type: {types[0]}'.")
    return told


class Written(Response):
    """JSON that is already written: what Starlette's response does, without looking at headers one by one."""

    def __init__(self, body: bytes, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self.body, self.status_code, self.background = body, status, None
        length = (b"content-length", str(len(body)).encode())
        self.raw_headers = [length, (b"content-type", b"application/json"), *headers]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body})


def answer(body: bytes, status: int = 200, headers: Sequence[tuple[bytes, bytes]] = ()) -> Response:
    """JSON that is already written."""
    return Written(body, status, headers)


def json_of(document: Any, status: int = 200) -> Response:
    """A document as JSON."""
    return answer(orjson.dumps(document, option=orjson.OPT_UTC_Z), status)


class Guarded(APIRoute):
    """A FastAPI route that looks at the key before anything else.

    Args:
        path, endpoint: as FastAPI's.
        access: who may do what.
        roles: any of these may; None where no key is needed.
        problems: kinds of problem its own work may answer, besides those of every route.
        told: FastAPI's own arguments.
    """

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        access: Access,
        roles: Roles | None,
        problems: Sequence[str] = (),
        responses: Mapping[int | str, dict[str, Any]] | None = None,
        openapi_extra: Mapping[str, Any] | None = None,
        **told: Any,
    ) -> None:
        kinds = [*problems, *(KEYED if roles else ()), *ALWAYS]
        extra = {"security": [{"key": []}] if roles else []} | dict(openapi_extra or {})
        super().__init__(
            path,
            endpoint,
            responses={**documented(kinds), **(responses or {})},
            openapi_extra=extra,
            operation_id=endpoint.__name__,
            **told,
        )
        self.app = _guard(self._inner(endpoint), access, roles)

    def _inner(self, endpoint: Callable[..., Any]) -> ASGIApp:
        return self.app


class Direct(Guarded):
    """A guarded route whose endpoint takes a :class:`Call`; FastAPI documents it and stays out of its way."""

    def __init__(self, path: str, endpoint: Endpoint, **told: Any) -> None:
        self._endpoint = endpoint
        super().__init__(path, _described(endpoint), **told)

    def _inner(self, endpoint: Callable[..., Any]) -> ASGIApp:
        run = self._endpoint

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            answered = await run(Call(scope, receive, scope[CALLER]))
            await answered(scope, receive, send)

        return app


def _described(endpoint: Endpoint) -> Callable[[], None]:
    """A function without parameters, under the endpoint's name and description."""

    def described() -> None:
        """Never called."""

    described.__name__, described.__doc__ = endpoint.__name__, endpoint.__doc__
    return described


def _guard(app: ASGIApp, access: Access, roles: Roles | None) -> ASGIApp:
    """Admit the caller, answer, and say no as a problem document."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if roles:
                if access.insecure:
                    _require_local(scope)
                client = scope.get("client")
                address = client[0] if client else ""
                scope[CALLER] = access.admit(header(scope, b"authorization"), address, roles)
            else:
                scope[CALLER] = NOBODY
            await app(scope, receive, send)
        except Exception as error:
            await response(refusal(scope, error), request_id(scope))(scope, receive, send)

    return guarded


def _require_local(scope: Scope) -> None:
    """Refuse what a web page of elsewhere has a browser send here: without keys nothing else would stop it.

    Raises:
        Problem: Host or Origin is not of this machine (403).
    """
    for name in (b"host", b"origin"):
        told = header(scope, name)
        if not (_is_local(told) if told is not None else name == b"origin"):
            said = f"The header {name.decode().title()} does not name this machine's loopback address"
            raise Problem("foreign-host", said, errors=[(name.decode().title(), said)])


@lru_cache(maxsize=32)
def _is_local(told: str) -> bool:
    """Whether a Host, or an Origin, is localhost or a loopback address, whatever the port."""
    try:
        name = urlsplit(told if "://" in told else f"//{told}").hostname
    except ValueError:
        return False
    return name is not None and is_loopback(name)


NOBODY = Caller("", frozenset())
