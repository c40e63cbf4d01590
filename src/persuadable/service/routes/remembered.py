"""What is remembered: one decision, the whole log, and the last hour."""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from fastapi import Path as InPath
from fastapi import Query
from pydantic import AwareDatetime, BeforeValidator
from starlette.responses import Response, StreamingResponse

from persuadable.service import exporting
from persuadable.service.core import Service, now
from persuadable.service.encoding import encode_record
from persuadable.service.routes.route import answer, json_of
from persuadable.service.scoring import Model
from persuadable.service.store.export import MadeBy
from persuadable.service.store.export import Missing as Unreported

__all__ = ["Remembered"]

RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:\d\d)")
PARQUET = "application/vnd.apache.parquet"
PIECE = 2**18


def _moment(told: object) -> object:
    """A time with its offset as RFC 3339 has it; pydantic alone would take a number too."""
    if isinstance(told, str) and RFC_3339.fullmatch(told):
        return told
    raise ValueError("not a time with its offset, such as 2030-01-31T09:00:00Z")


Moment = Annotated[AwareDatetime, BeforeValidator(_moment)]
Since = Annotated[Moment | None, Query(description="Only decisions made at this time or later (ISO 8601).")]
Until = Annotated[Moment | None, Query(description="Only decisions made before this time (ISO 8601).")]
Version = Annotated[str | None, Query(max_length=64, description="Only decisions of this bundle version.")]
Campaign = Annotated[str | None, Query(max_length=64, description="Only decisions of this campaign.")]
Maker = Annotated[
    MadeBy | None,
    Query(
        description="Only decisions made by the policy, left by it to the queue of reviews, or made by a person. Those "
        "of the policy are the ones to learn from."
    ),
]
Missing = Annotated[
    Unreported,
    Query(description="What no report of an outcome means: unknown, nothing happened, or leave the decision out."),
]


class Remembered:
    """The endpoints that read the store."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def decision(
        self, decision_id: Annotated[str, InPath(max_length=64, description="As /v1/decide answered it.")]
    ) -> Response:
        """All that is remembered of one decision, and the history of its outcomes."""
        decision, outcomes = await asyncio.to_thread(self._service.store.decision, decision_id)
        return answer(encode_record(decision, outcomes))

    async def export(
        self,
        since: Since = None,
        until: Until = None,
        bundle: Version = None,
        campaign: Campaign = None,
        made_by: Maker = None,
        missing: Missing = "null",
    ) -> Response:
        """The log as Parquet. `DecisionLog.read("export.parquet")` needs no arguments: the file knows its roles."""
        model = await self._model(bundle)
        handle, name = tempfile.mkstemp(prefix="persuadable-export-", suffix=".parquet")
        os.close(handle)
        try:
            await asyncio.to_thread(
                exporting.export,
                self._service.store,
                Path(name),
                model,
                since=since,
                until=until,
                bundle=bundle,
                campaign=campaign,
                made_by=made_by,
                missing=missing,
            )
            file = open(name, "rb")  # noqa: SIM115 - the answer outlives this call
        finally:
            os.unlink(name)  # whatever becomes of the answer, the file is gone when its handle is
        headers = {
            "Content-Length": str(os.fstat(file.fileno()).st_size),
            "Content-Disposition": 'attachment; filename="export.parquet"',
        }
        return StreamingResponse(_pieces(file), headers=headers, media_type=PARQUET)

    async def _model(self, bundle: str | None) -> Model:
        """The champion's model, or that of an older bundle, whose features may have been others."""
        champion = self._service.lineup.serving().champion
        if bundle is None or bundle == champion.version:
            return champion.model
        most = self._service.settings.max_bundle_bytes
        return await asyncio.to_thread(exporting.model_of, self._service.store, bundle, most)

    async def live(self) -> Response:
        """The last hour: decisions each minute, who was treated, with which propensities, outcomes, and last errors."""
        line = self._service.lineup.serving()
        hour = await asyncio.to_thread(self._service.store.live, now())
        told: dict[str, Any] = {field.name: getattr(hour, field.name) for field in fields(hour)}
        told["bundle"] = line.champion.version
        told["challenger"] = None if line.challenger is None else line.challenger.version
        return json_of(told)


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while piece := file.read(PIECE):
            yield piece
