"""Every route: its address, who may call it, what it may answer."""

from __future__ import annotations

from typing import Any

from persuadable.service.core import Service
from persuadable.service.routes import described as told
from persuadable.service.routes.admin import Administration
from persuadable.service.routes.batch import Batch
from persuadable.service.routes.decide import Deciding
from persuadable.service.routes.health import Health
from persuadable.service.routes.models import Models
from persuadable.service.routes.outcomes import Reporting
from persuadable.service.routes.remembered import Remembered
from persuadable.service.routes.reviews import Reviewing
from persuadable.service.routes.route import Direct, Guarded

__all__ = ["routes"]

DECIDE = frozenset({"decide"})
ASK = frozenset({"decide", "read"})
OUTCOME = frozenset({"outcome"})
READ = frozenset({"read"})
REVIEW = frozenset({"review"})
LOOK = READ | REVIEW
ADMIN = frozenset({"admin"})

READY = ("not-ready",)
STORE = ("store-unavailable",)
WRITTEN = (*STORE, "busy", "store-full")
BODY = ("malformed", "timeout", "too-large", "media-type", "invalid")


def routes(service: Service) -> list[Guarded]:
    """All routes, the busiest first."""
    return [
        *_deciding(service),
        *_models(service),
        *_remembered(service),
        *_reviewing(service),
        *_administration(service),
        *_health(service),
    ]


def _deciding(service: Service) -> list[Guarded]:
    deciding, batch, reporting = Deciding(service), Batch(service), Reporting(service)
    common: dict[str, Any] = {"access": service.access, "methods": ["POST"]}
    return [
        Direct(
            "/v1/score",
            deciding.score,
            roles=ASK,
            problems=(*BODY, "contract", "model", *READY),
            summary="Score users",
            tags=["decide"],
            responses={200: told.json_answer("What would be decided.", "ScoreAnswer")},
            openapi_extra=told.json_body("ScoreRequest"),
            **common,
        ),
        Direct(
            "/v1/decide",
            deciding.decide,
            roles=DECIDE,
            problems=(*BODY, "contract", "model", "idempotency", "erased", *READY, *WRITTEN),
            summary="Decide for users",
            tags=["decide"],
            responses={
                200: told.json_answer("What was decided.", "DecideAnswer", headers=told.REPLAYED)
                | {"links": told.LINKS}
            },
            openapi_extra=told.json_body("ScoreRequest") | {"parameters": [told.IDEMPOTENCY_KEY]},
            **common,
        ),
        Direct(
            "/v1/outcomes",
            reporting.outcomes,
            roles=OUTCOME,
            problems=(*BODY, "unknown-decision", *WRITTEN),
            summary="Report outcomes",
            tags=["outcomes"],
            responses={200: told.json_answer("What became of them.", "OutcomesAnswer")},
            openapi_extra=told.json_body("OutcomesRequest"),
            **common,
        ),
        Direct(
            "/v1/decide/batch",
            batch.decide_batch,
            roles=DECIDE,
            problems=(*BODY, "not-acceptable", "model", "idempotency", "erased", *READY, *WRITTEN),
            summary="Decide for many users",
            tags=["decide"],
            responses={200: told.BATCH_ANSWER},
            openapi_extra=told.BATCH,
            **common,
        ),
    ]


def _models(service: Service) -> list[Guarded]:
    models = Models(service)
    common: dict[str, Any] = {"access": service.access, "tags": ["model"]}
    reads: dict[str, Any] = common | {"roles": READ, "methods": ["GET"]}
    return [
        Direct(
            "/v1/explain",
            models.explain,
            roles=ASK,
            methods=["POST"],
            problems=(*BODY, "contract", "model", *READY),
            summary="Explain an effect",
            responses={200: told.json_answer("What moved it.", "ExplainAnswer")},
            openapi_extra=told.json_body("ExplainRequest"),
            **common,
        ),
        Direct(
            "/v1/policy",
            models.policy,
            problems=("invalid", *READY),
            summary="The budget curve",
            responses={200: told.POLICY},
            openapi_extra={"parameters": [told.SHARES, told.BUDGETS]},
            **reads,
        ),
        Guarded(
            "/v1/model-card",
            models.model_card,
            problems=READY,
            summary="The model card",
            responses={200: told.json_answer("The card, as the study wrote it.", None)},
            **reads,
        ),
        Guarded(
            "/v1/contract",
            models.contract,
            problems=READY,
            summary="The feature contract",
            responses={200: told.json_answer("Each feature's kind, range and categories.", "ContractAnswer")},
            **reads,
        ),
        Guarded(
            "/v1/evaluation",
            models.evaluation,
            problems=("no-evaluation", *READY),
            summary="The evaluation",
            responses={200: told.json_answer("Estimates with their intervals.", None)},
            **reads,
        ),
    ]


def _remembered(service: Service) -> list[Guarded]:
    remembered = Remembered(service)
    common: dict[str, Any] = {"access": service.access, "roles": READ, "methods": ["GET"], "tags": ["log"]}
    return [
        Guarded(
            "/v1/decisions/{decision_id}",
            remembered.decision,
            problems=("unknown-decision", "invalid", *STORE),
            summary="One decision",
            responses={200: told.json_answer("The decision and what came of it.", "DecisionRecord")},
            **common,
        ),
        Guarded(
            "/v1/export",
            remembered.export,
            problems=("invalid", "unknown-bundle", "mixed-export", *READY, *STORE, "store-full"),
            summary="The log as Parquet",
            responses={200: told.EXPORT},
            **common,
        ),
        Guarded(
            "/v1/live",
            remembered.live,
            problems=(*READY, *STORE),
            summary="The last hour",
            responses={200: told.json_answer("Counts and last errors.", "LiveAnswer")},
            **common,
        ),
    ]


def _reviewing(service: Service) -> list[Guarded]:
    reviewing = Reviewing(service)
    common: dict[str, Any] = {"access": service.access, "tags": ["review"]}
    looks: dict[str, Any] = common | {"roles": LOOK, "methods": ["GET"]}
    case = told.json_answer("The case, as it is now.", "ReviewAnswer")
    problems = (*BODY, "unknown-review", "review-taken", *STORE, "store-full")

    def post(verb: str, endpoint: Any, summary: str, body: dict[str, Any], *more: str) -> Direct:
        return Direct(
            f"/v1/reviews/{{decision_id}}/{verb}",
            endpoint,
            roles=REVIEW,
            methods=["POST"],
            problems=(*problems, *more),
            summary=summary,
            responses={200: case},
            openapi_extra=body | {"parameters": [told.CASE]},
            **common,
        )

    return [
        Guarded(
            "/v1/reviews",
            reviewing.reviews,
            problems=("invalid", *READY, *STORE),
            summary="Decisions that wait for a person",
            responses={200: told.json_answer("A page of the queue.", "ReviewsAnswer")},
            **looks,
        ),
        Guarded(
            "/v1/reviews/{decision_id}",
            reviewing.review,
            problems=("unknown-review", "invalid", *STORE),
            summary="One case",
            responses={200: case},
            **looks,
        ),
        post("claim", reviewing.claim_review, "Take a case", told.json_body("ReviewRequest", required=False)),
        post("release", reviewing.release_review, "Give a case back", told.json_body("ReviewRequest", required=False)),
        post(
            "approve",
            reviewing.approve_review,
            "Give what was proposed",
            told.json_body("VerdictRequest", required=False),
            "budget-spent",
        ),
        post(
            "override",
            reviewing.override_review,
            "Give something else",
            told.json_body("OverrideRequest"),
            "budget-spent",
        ),
    ]


def _administration(service: Service) -> list[Guarded]:
    administration = Administration(service)
    common: dict[str, Any] = {"access": service.access, "roles": ADMIN, "tags": ["deployment"]}
    deployed = told.json_answer("What is deployed now.", "DeploymentAnswer")
    return [
        Guarded(
            "/v1/admin/bundles",
            administration.bundles,
            methods=["GET"],
            problems=STORE,
            summary="What is deployed",
            responses={200: deployed},
            **common,
        ),
        Direct(
            "/v1/admin/bundles",
            administration.activate_bundle,
            methods=["POST"],
            problems=(*BODY, "bundle", "unknown-bundle", "conflict", *STORE, "store-full"),
            summary="Deploy a bundle",
            status_code=201,
            responses={201: told.json_answer("It is in service.", "DeploymentAnswer")},
            openapi_extra=told.BUNDLE,
            **common,
        ),
        Direct(
            "/v1/admin/bundles/rollback",
            administration.roll_back,
            methods=["POST"],
            problems=("bundle", "conflict", *STORE, "store-full"),
            summary="Roll back",
            responses={200: deployed},
            **common,
        ),
        Direct(
            "/v1/admin/bundles/challenger",
            administration.drop_challenger,
            methods=["DELETE"],
            problems=("bundle", *STORE, "store-full"),
            summary="Drop the challenger",
            status_code=204,
            responses={204: {"description": "There is no challenger now."}},
            **common,
        ),
    ]


def _health(service: Service) -> list[Guarded]:
    health = Health(service)
    common: dict[str, Any] = {"access": service.access, "methods": ["GET"], "tags": ["operations"]}
    return [
        Guarded(
            "/health/live",
            health.health_live,
            roles=None,
            summary="Alive",
            responses={200: told.json_answer("The process answers.", "HealthAnswer")},
            **common,
        ),
        Guarded(
            "/health/ready",
            health.health_ready,
            roles=None,
            problems=READY,
            summary="Ready",
            responses={200: told.json_answer("It can decide.", "HealthAnswer")},
            **common,
        ),
        Guarded(
            "/metrics",
            health.metrics,
            roles=READ,
            summary="Metrics",
            responses={200: told.METRICS},
            **common,
        ),
    ]
