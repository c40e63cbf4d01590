"""Deployment: which bundles answer."""

from __future__ import annotations

from typing import Any, Literal

import orjson
from pydantic import ValidationError
from starlette.responses import Response

from persuadable.service.core import Service
from persuadable.service.problems import Problem
from persuadable.service.routes.documents import NamedFolder, NamedVersion
from persuadable.service.routes.route import JSON, Call, json_of, require_type

__all__ = ["Administration"]

ZIP = "application/zip"
LARGEST_NAME = 2**14


class Administration:
    """The endpoints that change which bundles answer."""

    def __init__(self, service: Service) -> None:
        self._service, self._lineup = service, service.lineup

    async def bundles(self) -> Response:
        """What is deployed, and every bundle the store knows."""
        return json_of(await self._lineup.told())

    async def activate_bundle(self, call: Call) -> Response:
        """Check, keep and deploy a bundle, without dropping a request.

        A zip of a saved bundle's contents, or the name of one that is here already. As `champion` it answers from now
        on, and the champion before it is kept for a rollback; as `challenger` it is scored beside the champion, and
        both are recorded. Other workers and machines on the same store follow within seconds.
        """
        role = _role(call)
        if require_type(call, ZIP, JSON) == ZIP:
            version = await self._lineup.admit(await call.body(self._service.settings.max_bundle_bytes), role)
        else:
            named = _named(await call.body(LARGEST_NAME))
            if isinstance(named, NamedFolder):
                version = await self._lineup.admit_folder(named.path, role)
            else:
                version = named.version
                await self._lineup.deploy(version, role)
        self._service.log.info("activated", bundle=version, role=role, caller=call.caller.id)
        return json_of(await self._lineup.told() | {"version": version}, 201)

    async def roll_back(self, call: Call) -> Response:
        """Make the previous champion the champion again, in one step; again, and the step is undone."""
        await self._lineup.roll_back()
        self._service.log.info("rolled back", caller=call.caller.id)
        return json_of(await self._lineup.told())

    async def drop_challenger(self, call: Call) -> Response:
        """Stop scoring the challenger."""
        await self._lineup.drop_challenger()
        self._service.log.info("challenger dropped", caller=call.caller.id)
        return Response(status_code=204)


def _role(call: Call) -> Literal["champion", "challenger"]:
    told = call.query("as", "champion")
    if told == "champion":
        return "champion"
    if told == "challenger":
        return "challenger"
    said = "as is neither champion nor challenger"
    raise Problem("invalid", said, errors=[("as", said)])


def _named(raw: bytes) -> NamedFolder | NamedVersion:
    try:
        document: Any = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise Problem("malformed", f"This is not JSON: {error}") from None
    kind = NamedVersion if isinstance(document, dict) and "version" in document else NamedFolder
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        faults = [("".join(f"/{part}" for part in told["loc"]), told["msg"]) for told in error.errors()]
        raise Problem("invalid", "The body names no bundle, by path or by version", errors=faults) from None
