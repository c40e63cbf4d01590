"""Every refusal is a problem document, of one catalogue, and tells its values to the caller alone."""

from __future__ import annotations

import json

import pytest
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from persuadable.errors import BundleError, StoreError
from persuadable.service.intake import Refused
from persuadable.service.problems import CATALOGUE, MEDIA_TYPE, Problem, ProblemDocument, documented, response
from persuadable.service.refusals import problem_of
from persuadable.service.scoring import ModelFailure
from persuadable.service.store import (
    DeploymentConflict,
    Erased,
    KeyReused,
    MixedExport,
    StoreBusy,
    StoreFull,
    StoreUnavailable,
    UnknownBundle,
    UnknownDecisions,
)
from persuadable.service.wire import Fault, WireError

MEANT = [
    (WireError(400, [Fault("", "This is not JSON.")]), 400, "malformed"),
    (WireError(422, [Fault("/units", "units is missing.")]), 422, "invalid"),
    (Refused([Fault("/units/0/features/age", "Feature 'age' is absent.")], {}), 422, "contract"),
    (StoreUnavailable("away"), 503, "store-unavailable"),
    (StoreFull(), 507, "store-full"),
    (StoreBusy(3), 503, "busy"),
    (KeyReused("k"), 422, "idempotency"),
    (Erased("k"), 409, "erased"),
    (UnknownDecisions(["d1", "d2"]), 404, "unknown-decision"),
    (UnknownBundle("v"), 404, "unknown-bundle"),
    (DeploymentConflict("no previous"), 409, "conflict"),
    (MixedExport(["a", "b"]), 409, "mixed-export"),
    (BundleError("damaged"), 422, "bundle"),
    (ModelFailure("not a number"), 500, "model"),
    (StoreError("refused"), 422, "invalid"),
    (HTTPException(404), 404, "no-such-path"),
    (HTTPException(405, headers={"Allow": "GET"}), 405, "method"),
    (RequestValidationError([{"loc": ("query", "missing"), "msg": "no", "type": "x"}]), 422, "invalid"),
]


@pytest.mark.parametrize(("error", "status", "slug"), MEANT, ids=lambda value: getattr(value, "__name__", str(value)))
def test_an_error_becomes_its_problem(error: Exception, status: int, slug: str) -> None:
    problem = problem_of(error)
    assert problem is not None
    answered = response(problem, "r1")
    document = json.loads(answered.body)
    assert (answered.status_code, document["status"], document["type"]) == (status, status, f"/problems/{slug}")
    assert answered.media_type == MEDIA_TYPE
    ProblemDocument.model_validate(document)


@pytest.mark.parametrize("error", [ValueError("ours"), KeyError("x"), HTTPException(418)])
def test_a_fault_of_ours_is_no_refusal(error: Exception) -> None:
    assert problem_of(error) is None


def test_what_can_be_tried_again_says_when() -> None:
    waits = {slug for slug, kind in CATALOGUE.items() if "Retry-After" in Problem(slug, "x").headers}
    assert waits == {slug for slug, kind in CATALOGUE.items() if kind.status in (429, 503)}
    assert Problem("too-many-requests", "x", retry_after=7).headers["Retry-After"] == "7"


@pytest.mark.parametrize(
    "error",
    [
        WireError(422, [Fault("/units/0/unit", "unit is 'Ada Lovelace'.")]),
        Refused([Fault("/units/0/features/town", "Feature 'town' holds 'Ada'.")], {}),
    ],
)
def test_values_are_told_to_the_caller_and_noted_nowhere(error: Exception) -> None:
    """``detail`` goes to the Live page and to nobody's surprise; what was sent stands under ``errors`` alone."""
    problem = problem_of(error)
    assert problem is not None
    assert "Ada" not in problem.detail
    assert "/units/0/" in problem.detail
    assert "Ada" in problem.errors[0][1]


def test_kinds_of_one_status_are_documented_together() -> None:
    told = documented(["no-key", "unknown-key", "busy"])
    assert set(told) == {401, 503}
    examples = told[401]["content"][MEDIA_TYPE]["examples"]
    assert set(examples) == {"no-key", "unknown-key"}
    for example in examples.values():
        ProblemDocument.model_validate(example["value"])
    assert "Retry-After" in told[503]["headers"]
    assert "headers" not in told[401]
