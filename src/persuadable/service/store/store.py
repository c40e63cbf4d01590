"""The store: what the service remembers."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from os import PathLike

import numpy as np
from sqlalchemy import Connection, select

from persuadable.features import Column
from persuadable.service.records import Answer, Decision, StoredOutcome
from persuadable.service.store import claims, erasure, outcomes, problems, upgrade, write
from persuadable.service.store.bundles import Bundles
from persuadable.service.store.connect import Database
from persuadable.service.store.deployment import Deployment
from persuadable.service.store.erasure import Erasure
from persuadable.service.store.errors import Erased, KeyReused, UnknownDecisions
from persuadable.service.store.export import MadeBy, Missing, Which, export
from persuadable.service.store.ids import is_id
from persuadable.service.store.keys import Keys
from persuadable.service.store.live import Live, live
from persuadable.service.store.probe import probe
from persuadable.service.store.problems import Problem
from persuadable.service.store.reviews import Reviews
from persuadable.service.store.rows import as_decision
from persuadable.service.store.tables import decisions
from persuadable.service.store.write import Item, Result

__all__ = ["Store"]


class Store:
    """Decisions, outcomes, budgets, keys and bundles in one database, which many workers may share.

    Safe to use from several threads. Every method may raise StoreUnavailable, and those that write StoreFull: nothing
    is then half done, and it may be asked again.

    Attributes:
        url: where it is, without passwords.
        keys: the API keys.
        bundles: the bundles' archives.
        deployment: which of them are in use.
        reviews: the decisions that wait for a person.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._writer = secrets.token_hex(8)
        self.url = database.shown
        self.keys, self.bundles, self.deployment = Keys(database), Bundles(database), Deployment(database)
        self.reviews = Reviews(database)

    @classmethod
    def open(cls, url: str, *, timeout: float = 10.0) -> Store:
        """The store at a URL. Nothing is read yet: see :meth:`upgrade` and :meth:`check`.

        Args:
            url: ``sqlite:///FILE.db`` or ``postgresql://USER@HOST/DATABASE``.
            timeout: seconds to wait for a lock or for the database's answer.

        Raises:
            ParameterError: a URL of another kind.
            MissingDependency: the database's driver is not installed.
        """
        return cls(Database(url, timeout=timeout))

    def __repr__(self) -> str:
        return f"Store({self.url!r})"

    def close(self) -> None:
        """Give back the connections."""
        self._database.close()

    def upgrade(self) -> None:
        """Make the tables, or bring them to this version's. Several workers may do so at once."""
        upgrade.upgrade(self._database)

    def is_current(self) -> bool:
        """Whether the tables are this version's; not where there are none yet."""
        return self._database.read(upgrade.is_at_head)

    def check(self, *, writing: bool = False) -> None:
        """Make sure that the database answers, has this version's tables and, if asked, has space for a mebibyte.

        Raises:
            StoreUnavailable, StoreFull: it does not.
        """
        if not self.is_current():
            raise self._database.not_ready()
        if writing:
            probe(self._database)

    @property
    def is_at_rest(self) -> bool:
        """Whether it is a file that nobody in this process reads or writes just now."""
        return self._database.is_at_rest

    def write(self, batch: Sequence[Item], rng: np.random.Generator, *, patient: bool = True) -> list[Result]:
        """Decide the orders and record the outcomes of a batch, in one transaction; a result for each, in order.

        A result is an Answer or Receipt, or, where an item alone is refused, the KeyReused, Erased or
        UnknownDecisions that says why. Orders are served one after another; each sees what those before it spent.

        Args:
            batch: what to write.
            rng: where lots come from.
            patient: whether to wait for another transaction that is in the way.

        Raises:
            Beaten: it is not waited for, and nothing was written.
            StoreUnavailable, StoreFull: nothing of the batch may be taken as written.
            StoreError: the database refuses the values of some item, and nothing was written.
        """
        return self._database.write(
            lambda connection: write.write(connection, batch, rng, self._writer), patient=patient
        )

    def replay(self, key: str, digest: bytes) -> Answer | None:
        """What was answered to the request with this idempotency key, as it would be again; None if there was none.

        Args:
            key: as in ``Order.key``.
            digest: of the request's content.

        Raises:
            KeyReused, Erased: as :meth:`write` would return.
        """

        def read(connection: Connection) -> Answer | None:
            held = claims.holder(connection, key)
            answer = None if held is None else claims.replay(connection, key, digest, held)
            if isinstance(answer, KeyReused | Erased):
                raise answer
            return answer

        return self._database.read(read)

    def decision(self, decision_id: str) -> tuple[Decision, list[StoredOutcome]]:
        """A decision, and the history of its outcomes as it arrived.

        Raises:
            UnknownDecisions: there is none with this id.
        """

        def read(connection: Connection) -> tuple[Decision, list[StoredOutcome]]:
            row = connection.execute(select(decisions).where(decisions.c.decision_id == decision_id)).first()
            if row is None:
                raise UnknownDecisions([decision_id])
            return as_decision(row), outcomes.history(connection, decision_id)

        if not is_id(decision_id):
            raise UnknownDecisions([decision_id])
        return self._database.read(read)

    def export(
        self,
        path: str | PathLike[str],
        *,
        columns: Sequence[Column],
        actions: Sequence[str],
        contract: str,
        since: datetime | None = None,
        until: datetime | None = None,
        bundle: str | None = None,
        campaign: str | None = None,
        made_by: MadeBy | None = None,
        missing: Missing = "null",
        primary: str | None = None,
    ) -> int:
        """Write decisions and their outcomes to a Parquet file that ``DecisionLog.read(path)`` reads; how many rows.

        A file holds the decisions of one contract and one set of actions, of however many bundles share them. The
        features are those received, numbers as numbers and categories as text; a value of the wrong kind is missing,
        and what the contract does not know is left out. Of each outcome it is the value in force. Where a feature has
        the name of another column, that column gets a "_" at its end.

        Args:
            path: the file; it is there when it is whole.
            columns: the contract's features.
            actions: every action of the bundle, the control first.
            contract: the contract's version.
            since, until: decisions made from the one on and before the other.
            bundle, campaign: only decisions of these.
            made_by: only decisions of the policy, only those that were left to the queue of reviews, or only those that
                a person made; the file has a column of that name too.
            missing: an outcome that was not reported is null, is 0, or drops the decision.
            primary: the outcome to put first, where it was reported; the others follow by name.

        Raises:
            MixedExport: some of the decisions have another contract or other actions.
            StoreError: the file cannot be written.
        """
        which = Which(since, until, bundle, campaign, made_by)
        return export(
            self._database,
            path,
            which,
            columns=columns,
            actions=actions,
            contract=contract,
            missing=missing,
            primary=primary,
        )

    def live(self, now: datetime | None = None) -> Live:
        """The last 60 minutes: decisions, treatments, propensities, outcomes, and the last errors."""
        return self._database.read(lambda connection: live(connection, now or datetime.now(UTC)))

    def erase(self, unit: str) -> Erasure:
        """Delete everything that names or describes a unit; how much that was."""
        return erasure.erase(self._database, unit)

    def retain(self, before: datetime) -> Erasure:
        """Delete what is older than a time; how much that was."""
        return erasure.retain(self._database, before)

    def note_problems(self, noted: Sequence[Problem]) -> None:
        """Keep errors that were answered; of all, the last thousand are kept."""
        problems.note(self._database, noted)
