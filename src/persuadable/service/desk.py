"""The way from units to decisions: intake, champion and challenger, and then the store's writer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from persuadable.service import grants
from persuadable.service.core import Service, now
from persuadable.service.deployment import Line, Serving
from persuadable.service.intake import Counts, Refused, Taken
from persuadable.service.records import Answer, Budget, Decision, Order, Proposal, Shadow
from persuadable.service.scoring import shadows
from persuadable.service.wire import Fault, Terms, Unit, WireError

__all__ = ["Desk", "ordered"]

# So many units are scored within a fraction of a millisecond; more go to a thread, and others are answered meanwhile.
AT_ONCE = 16


class Desk:
    """Scores units and has them decided on."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def score(self, line: Line, units: Sequence[Unit], terms: Terms) -> Sequence[Decision]:
        """What would be decided, without remembering it.

        Raises:
            Refused: features break the contract.
        """
        order = await self.order(line, units, terms, key=None, digest=b"", options=True)
        settled = grants.settle(order.proposals, order.budget.units, self._service.rng, order.budget.amount)
        self._service.metrics.scored(len(units))
        return grants.decisions(order, settled, None, now())

    async def decide(self, order: Order) -> Answer:
        """What is decided; durable when this returns.

        Raises:
            StoreError: nothing was recorded.
        """
        answer = await self._service.writer.decide(order)
        self._service.metrics.decided(answer.decisions, replayed=answer.replayed)
        return answer

    async def again(self, key: str | None, digest: bytes) -> Answer | None:
        """What was decided under a key, where it can no longer be decided: None where nothing was.

        A request that was answered is answered again, whatever bundle has come since.

        Raises:
            StoreError: the key holds another request, or the store cannot be asked.
        """
        if key is None:
            return None
        answer = await asyncio.to_thread(self._service.store.replay, key, digest)
        if answer is not None:
            self._service.metrics.decided(answer.decisions, replayed=True)
        return answer

    async def order(
        self,
        line: Line,
        units: Sequence[Unit],
        terms: Terms,
        *,
        key: str | None,
        digest: bytes,
        options: bool = False,
    ) -> Order:
        """The order for the units of one request; with what is known of every action, if ``options`` are asked for.

        Raises:
            Refused: features break the contract.
            WireError: the terms, or what somebody is eligible for, mean nothing to the champion.
        """
        model = line.champion.model
        if faults := model.faults(terms):
            raise WireError(422, faults)
        budget = model.budget(terms, len(units))
        if len(units) <= AT_ONCE:
            proposals = self._proposed(line, units, terms, budget, options)
        else:
            proposals = await asyncio.to_thread(self._proposed, line, units, terms, budget, options)
        return ordered(line, budget, proposals, key, digest)

    def take(self, champion: Serving, units: Sequence[Unit]) -> Taken:
        """The units' features as the champion takes them; how they broke the contract is counted.

        Raises:
            Refused: features break the contract.
        """
        try:
            taken = champion.intake.take(units)
        except Refused as error:
            self.count(error.counts)
            raise
        if taken.counts:
            self.count(taken.counts)
        return taken

    def _proposed(
        self, line: Line, units: Sequence[Unit], terms: Terms, budget: Budget, options: bool
    ) -> list[Proposal]:
        for i, unit in enumerate(units):
            if unit.eligible is not None and (faults := line.champion.model.unknown(unit)):
                raise WireError(422, [Fault(f"/units/{i}{place}", said) for place, said in faults])
        taken = self.take(line.champion, units)
        return self.propose(line, units, taken, terms, budget, len(units), options=options)

    def propose(
        self,
        line: Line,
        units: Sequence[Unit],
        taken: Taken,
        terms: Terms,
        budget: Budget,
        among: int,
        *,
        options: bool = False,
    ) -> list[Proposal]:
        """What the champion proposes, and beside it what the challenger would.

        Args:
            line: the bundles.
            units, taken: who, and their features as the champion takes them.
            terms, budget: what the request says of its budget, and what that means to the champion.
            among: number of units in the whole request.
            options: whether to tell what is known of every action.
        """
        shadows = self._shadows(line, units, terms, among)
        return line.champion.model.propose(units, taken, budget, shadows, options=options)

    def _shadows(self, line: Line, units: Sequence[Unit], terms: Terms, among: int) -> list[Shadow | None] | None:
        if (challenger := line.challenger) is None:
            return None
        told, error = shadows(challenger.model, challenger.intake, units, terms, among)
        if error is not None:
            self._service.metrics.shadow_failed()
            self._service.log.warning("shadow", bundle=challenger.version, failed=type(error).__name__)
        return told

    def count(self, counts: Counts) -> None:
        """Count how features broke the contract."""
        self._service.metrics.violated(counts)


def ordered(line: Line, budget: Budget, proposals: Sequence[Proposal], key: str | None, digest: bytes) -> Order:
    """An order of the champion's proposals."""
    model = line.champion.model
    return Order(key, digest, budget, tuple(proposals), model.actions, model.version, model.contract_version)
