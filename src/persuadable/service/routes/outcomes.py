"""What came of decisions: /v1/outcomes."""

from __future__ import annotations

from starlette.responses import Response

from persuadable.service import wire
from persuadable.service.core import Service
from persuadable.service.problems import Problem
from persuadable.service.records import Outcomes
from persuadable.service.routes.route import JSON, Call, json_of, require_type
from persuadable.service.store import UnknownDecisions
from persuadable.service.wire import MOST_FAULTS

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
        try:
            receipt = await self._service.writer.record(reports)
        except UnknownDecisions as error:
            raise _unknown(reports, error) from None
        self._service.metrics.recorded(receipt)
        told = {"recorded": receipt.recorded, "repeated": receipt.repeated, "corrected": receipt.corrected}
        return json_of(told)


def _unknown(outcomes: Outcomes, error: UnknownDecisions) -> Problem:
    """Where in the request the decisions stand that the store has not."""
    lost = set(error.ids)
    places = [(i, told.decision_id) for i, told in enumerate(outcomes.reports) if told.decision_id in lost]
    errors = [(f"/outcomes/{i}/decision_id", f"There is no decision {one!r}.") for i, one in places[:MOST_FAULTS]]
    return Problem("unknown-decision", error.what, errors=errors)
