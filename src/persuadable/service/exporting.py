"""The log back out, with the features and actions of the bundle that decided."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from persuadable.errors import ParameterError
from persuadable.service import archive
from persuadable.service.models import model_of as compiled
from persuadable.service.scoring import Model
from persuadable.service.store import Store
from persuadable.service.store.export import MadeBy, Missing

__all__ = ["export", "model_of"]


def model_of(store: Store, version: str | None, most_bytes: int) -> Model:
    """The model of a bundle the store knows; the champion's without a version.

    Raises:
        UnknownBundle: the store does not have it.
        ParameterError: nothing is deployed.
        BundleError: the bundle cannot be read.
    """
    wanted = version or store.deployment.read().champion
    if wanted is None:
        raise ParameterError("Nothing is deployed, so nothing was decided", remedy="Serve a bundle first.")
    return compiled(archive.load(store.bundles.get(wanted), most_bytes))


def export(
    store: Store,
    path: Path,
    model: Model,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    bundle: str | None = None,
    campaign: str | None = None,
    made_by: MadeBy | None = None,
    missing: Missing = "null",
) -> int:
    """Write decisions made with a model's features and actions, and what came of them; how many.

    Args:
        store: where they are.
        path: the Parquet file to write.
        model: whose features and actions the columns are; its outcome comes first.
        since, until, bundle, campaign, made_by: which decisions.
        missing: an outcome that was not reported is null, is 0, or drops the decision.

    Raises:
        MixedExport: some of the decisions have other features or actions; name a bundle.
        StoreError: the store cannot be read, or the file not be written.
    """
    return store.export(
        path,
        columns=model.bundle.contract.columns,
        actions=model.actions,
        contract=model.contract_version,
        since=since,
        until=until,
        bundle=bundle,
        campaign=campaign,
        made_by=made_by,
        missing=missing,
        primary=model.outcome,
    )
