"""What came of decisions: /v1/outcomes."""

from __future__ import annotations

from starlette.responses import Response

from persuadable.service import wire
from persuadable.service.core import Service
from persuadable.service.routes.route import JSON, Call, json_of, require_type

__all__ = ["Reporting"]


class Reporting:
    """The endpoint that takes outcomes back."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def outcomes(self, call: Call) -> Response:
        """Report outcomes and costs of decisions: late, out of order, again, or corrected. All are recorded, or none.

        An exact repeat changes nothing. Of several values, the one observed last is in force; the others stay in the
        history.
        """
        require_type(call, JSON)
        settings = self._service.settings
        reports = wire.read_outcomes(await call.body(settings.max_body_bytes), most=settings.max_units)
        receipt = await self._service.writer.record(reports)
        self._service.metrics.recorded(receipt)
        told = {"recorded": receipt.recorded, "repeated": receipt.repeated, "corrected": receipt.corrected}
        return json_of(told)
