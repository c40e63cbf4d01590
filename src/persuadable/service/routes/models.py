"""The model that decides: why, at which budget, and what is known of it."""

from __future__ import annotations

import asyncio

from starlette.responses import Response

from persuadable.service import wire
from persuadable.service.core import Service
from persuadable.service.desk import Desk
from persuadable.service.problems import Problem
from persuadable.service.routes.route import JSON, Call, answer, json_of, require_type

__all__ = ["Models"]

MOST_BUDGETS = 1_001
MOST = {"shares": 1.0, "budgets": wire.LARGEST_MONEY}


class Models:
    """The endpoints about the champion."""

    def __init__(self, service: Service) -> None:
        self._service, self._desk = service, Desk(service)

    async def explain(self, call: Call) -> Response:
        """What moved one user's effect, by exact tree SHAP: `base` and the contributions add up to `effect`."""
        require_type(call, JSON)
        request = wire.read_explain(await call.body(self._service.settings.max_body_bytes))
        champion = self._service.lineup.serving().champion
        taken = self._desk.take(champion, [request.unit])
        told = await asyncio.to_thread(champion.model.explain, request.unit, taken, request.treatment)
        return json_of(told)

    async def policy(self, call: Call) -> Response:
        """The budget curve: for each budget, the threshold or the price, and what it is expected to bring.

        Expected on the users the policy was calibrated on; `held_out` repeats what the bundle's evaluation measured.
        A bundle with a budget of users answers for `shares`, one with a budget of money for `budgets` per head.
        """
        model = self._service.lineup.serving().champion.model
        told = {name: [v for n, v in call.parameters() if n == name] for name in MOST}
        for name in told.keys() - {model.budgets}:
            if told[name]:
                said = f"The bundle in service has no {name}. Send {model.budgets}."
                raise Problem("invalid", said, errors=[(name, said)])
        mine = told[model.budgets]
        wanted = _budgets(model.budgets, ",".join(mine)) if mine else None
        return json_of(await asyncio.to_thread(model.policy_document, wanted))

    async def model_card(self) -> Response:
        """The model card: what it was learned from, for what, and its limits."""
        return answer(self._service.lineup.serving().champion.card)

    async def contract(self) -> Response:
        """What the features must look like."""
        return answer(self._service.lineup.serving().champion.contract)

    async def evaluation(self) -> Response:
        """How the model and its policy did on held-out rows, as measured when the bundle was made."""
        if (told := self._service.lineup.serving().champion.evaluation) is None:
            raise Problem("no-evaluation", "The bundle in service was made without an evaluation")
        return answer(told)


def _budgets(name: str, text: str) -> tuple[float, ...]:
    try:
        budgets = tuple(float(part) for part in text.split(","))
    except ValueError:
        budgets = ()
    if not budgets or len(budgets) > MOST_BUDGETS or not all(0.0 <= budget <= MOST[name] for budget in budgets):
        said = f"{name} are not up to {MOST_BUDGETS:,} numbers from 0 to {MOST[name]:g}, separated by commas"
        raise Problem("invalid", said, errors=[(name, said)])
    return budgets
