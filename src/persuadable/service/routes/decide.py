"""Scoring and deciding: /v1/score and /v1/decide."""

from __future__ import annotations

import hashlib
import re

from starlette.responses import Response

from persuadable.service import wire
from persuadable.service.core import Service
from persuadable.service.desk import Desk
from persuadable.service.encoding import encode_answer
from persuadable.service.intake import Refused
from persuadable.service.problems import Problem
from persuadable.service.records import Answer
from persuadable.service.routes.route import JSON, Call, answer, require_type
from persuadable.service.scoring import ModelFailure
from persuadable.service.wire import ScoreRequest, WireError

__all__ = ["Deciding", "idempotency_key"]

VISIBLE = re.compile(r"[!-~]{1,255}")
REPLAYED = ((b"idempotent-replayed", b"true"),)


class Deciding:
    """The endpoints that answer for one or some users."""

    def __init__(self, service: Service) -> None:
        self._service, self._desk = service, Desk(service)
        self._most_bytes, self._most_units = service.settings.max_body_bytes, service.settings.max_units

    async def score(self, call: Call) -> Response:
        """What would be decided for these users, and why. Nothing is remembered."""
        require_type(call, JSON)
        request = wire.read_request(await call.body(self._most_bytes), most_units=self._most_units)
        line = self._service.lineup.serving()
        decisions = await self._desk.score(line, request.units, request.terms)
        return answer(encode_answer(decisions, line.champion.version))

    async def decide(self, call: Call) -> Response:
        """Decide for these users, and remember it. The decisions are durable before they are answered.

        Sent again with the same `Idempotency-Key`, the same request is answered with the same decisions, and the header
        `Idempotent-Replayed: true`.
        """
        require_type(call, JSON)
        key = idempotency_key(call)
        raw = await call.body(self._most_bytes)
        request = wire.read_request(raw, most_units=self._most_units)
        made = await self._decided(request, key, hashlib.sha256(raw).digest())
        body = encode_answer(made.decisions, made.decisions[0].bundle)
        return answer(body, headers=REPLAYED if made.replayed else ())

    async def _decided(self, request: ScoreRequest, key: str | None, digest: bytes) -> Answer:
        try:
            order = await self._desk.order(
                self._service.lineup.serving(), request.units, request.terms, key=key, digest=digest
            )
        except (Refused, ModelFailure, WireError):
            if (made := await self._desk.again(key, digest)) is None:
                raise
            return made
        return await self._desk.decide(order)


def idempotency_key(call: Call) -> str | None:
    """The request's idempotency key, made unique by whose it is; None where it has none.

    Raises:
        Problem: it is not 1 to 255 visible ASCII characters.
    """
    told = call.header(b"idempotency-key")
    if told is None:
        return None
    if VISIBLE.fullmatch(told) is None:
        said = "Idempotency-Key is not 1 to 255 visible ASCII characters"
        raise Problem("invalid", said, errors=[("Idempotency-Key", said)])
    return f"{call.caller.key} {told}"
