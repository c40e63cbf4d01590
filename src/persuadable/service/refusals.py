"""Which problem document each error becomes; an error that is nobody's refusal becomes none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from persuadable.errors import BundleError, StoreError
from persuadable.service.arrow import ArrowError
from persuadable.service.intake import Refused
from persuadable.service.problems import Problem
from persuadable.service.scoring import ModelFailure
from persuadable.service.store import errors as store
from persuadable.service.wire import WireError

__all__ = ["problem_of"]


def problem_of(error: Exception) -> Problem | None:
    """The problem an error is, or None where it is a fault of ours."""
    if isinstance(error, Problem):
        return error
    for kind, made in MEANING.items():
        if isinstance(error, kind):
            return made(error)
    return None


def _wire(error: Any) -> Problem:
    return _pointed("malformed" if error.status == 400 else "invalid", "cannot be taken", error)


def _contract(error: Any) -> Problem:
    return _pointed("contract", "breaks the contract", error)


def _pointed(slug: str, what: str, error: Any) -> Problem:
    """Where it is wrong, in one sentence; what is wrong there is told to the caller alone, for it holds values."""
    first, more = error.faults[0].pointer or "the top of the body", len(error.faults) - 1
    others = f" ({more} more such place{'s' if more > 1 else ''})" if more else ""
    return Problem(slug, f"What is at {first} {what}{others}", errors=error.faults)


def _parameters(error: Any) -> Problem:
    """A parameter in the address or a header that FastAPI refused."""
    errors = [(_place(told["loc"]), told["msg"]) for told in error.errors()]
    named = ", ".join(sorted({pointer for pointer, _ in errors}))
    return Problem("invalid", f"Not valid: {named}", errors=errors)


def _place(loc: tuple[Any, ...]) -> str:
    return ".".join(str(part) for part in loc[1:]) or str(loc[0])


def _said(slug: str) -> Callable[[Any], Problem]:
    """The error's own words and remedy, under this kind."""
    return lambda error: Problem(slug, error.what, remedy=error.remedy)


def _taken(error: Any) -> Problem:
    """Who has the case, in words and as values."""
    holder = {"state": error.state, "by": error.by, "since": error.since, "until": error.until}
    return Problem("review-taken", error.what, remedy=error.remedy, holder=holder)


def _http(error: Any) -> Problem | None:
    if error.status_code == 404:
        return Problem("no-such-path", "There is nothing at this address")
    if error.status_code == 405:
        return Problem("method", "This address takes other methods", headers=error.headers)
    return Problem("malformed", str(error.detail)) if error.status_code == 400 else None


MEANING: dict[type[Exception], Callable[[Any], Problem | None]] = {
    WireError: _wire,
    Refused: _contract,
    RequestValidationError: _parameters,
    HTTPException: _http,
    ArrowError: _said("malformed"),
    ModelFailure: _said("model"),
    BundleError: _said("bundle"),
    store.StoreUnavailable: lambda error: Problem("store-unavailable", "The store cannot be reached"),
    store.StoreFull: _said("store-full"),
    store.StoreBusy: _said("busy"),
    store.KeyReused: _said("idempotency"),
    store.Erased: _said("erased"),
    store.UnknownDecisions: _said("unknown-decision"),
    store.UnknownBundle: _said("unknown-bundle"),
    store.UnknownReview: _said("unknown-review"),
    store.CaseTaken: _taken,
    store.ActionNotAllowed: lambda error: Problem(
        "invalid", error.what, errors=[("/action", f"{error.what}. {error.remedy}")], remedy=error.remedy
    ),
    store.CampaignSpent: _said("budget-spent"),
    store.BundleTooLarge: _said("too-large"),
    store.DeploymentConflict: _said("conflict"),
    store.MixedExport: _said("mixed-export"),
    StoreError: _said("invalid"),
}
