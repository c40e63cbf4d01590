"""Every way in which the service says no: one catalogue of problem documents (RFC 9457)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

__all__ = ["CATALOGUE", "MEDIA_TYPE", "Kind", "Problem", "ProblemDocument", "documented", "response"]

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of problem: its stable name, its title, and its status."""

    slug: str
    status: int
    title: str
    remedy: str
    retry_after: int | None = None

    @property
    def type(self) -> str:
        """The URI a client can tell the kind by; it does not change."""
        return f"/problems/{self.slug}"


def _catalogue(*kinds: Kind) -> dict[str, Kind]:
    return {kind.slug: kind for kind in kinds}


CATALOGUE: Mapping[str, Kind] = _catalogue(
    Kind("malformed", 400, "The request cannot be read", "Send what the API's description shows, at /docs."),
    Kind("no-key", 401, "An API key is needed", "Send the header 'Authorization: Bearer psk_…'."),
    Kind("unknown-key", 401, "The API key is not known", "Check the key, or create one: persuadable keys create."),
    Kind(
        "foreign-host", 403, "Only this machine is answered without keys", "Ask at http://localhost, or use API keys."
    ),
    Kind("role", 403, "The API key may not do this", "Use a key with the role that is named."),
    Kind("no-such-path", 404, "There is nothing at this address", "The addresses are listed at /docs."),
    Kind("unknown-decision", 404, "A decision is not known", "Use a decision_id that /v1/decide answered."),
    Kind("unknown-review", 404, "No such case", "GET /v1/reviews lists the cases that wait."),
    Kind("unknown-bundle", 404, "A bundle is not known", "GET /v1/admin/bundles lists those known."),
    Kind("no-evaluation", 404, "The bundle holds no evaluation", "Make the bundle with persuadable run or demo."),
    Kind("method", 405, "This address does not take this method", "Use a method that the Allow header names."),
    Kind("not-acceptable", 406, "None of the formats accepted can be answered", "Accept one of those named."),
    Kind("timeout", 408, "The body did not come", "Send the request again, its body without long pauses."),
    Kind("conflict", 409, "The deployment does not allow this now", "Look at GET /v1/admin/bundles."),
    Kind("review-taken", 409, "Somebody else has this case", "Take another case."),
    Kind("budget-spent", 409, "The budget of the campaign is spent", "Decide on doing nothing, or release the case."),
    Kind("erased", 409, "The decisions under this Idempotency-Key were erased", "Use a new key to decide anew."),
    Kind("mixed-export", 409, "Not one log: features or actions differ", "Export one bundle at a time: ?bundle=…"),
    Kind("too-large", 413, "The request is too large", "Send less at a time, or use /v1/decide/batch."),
    Kind("media-type", 415, "The body has a format that is not read here", "Send the content type named."),
    Kind("invalid", 422, "The request is not valid", "Correct what the errors point at."),
    Kind("contract", 422, "Features break the contract of the model", "Correct them; GET /v1/contract shows it."),
    Kind("idempotency", 422, "The Idempotency-Key was used for another request", "Use a new key for a new request."),
    Kind("bundle", 422, "The bundle cannot be used", "Send a zip of a folder that Bundle.save wrote."),
    Kind("too-many-requests", 429, "Too many requests", "Wait as long as Retry-After says, then go on slower.", 1),
    Kind("headers-too-large", 431, "Address and headers are too large", "Send less in them; a body has more room."),
    Kind("model", 500, "The model failed", "Roll back to the previous bundle, and look at these features."),
    Kind("unexpected", 500, "Something went wrong in the service", "Tell the operator the request id."),
    Kind("store-unavailable", 503, "The store cannot be reached", "Send the same request again in a moment.", 1),
    Kind("busy", 503, "More is waiting than can be recorded", "Send the same request again in a moment.", 1),
    Kind("not-ready", 503, "The service is not ready", "Try again in a moment.", 1),
    Kind("store-full", 507, "The store has no room left", "Give the store room; nothing of this was recorded."),
)


class PointedError(BaseModel):
    """One place in the request and what is wrong there."""

    model_config = ConfigDict(extra="forbid")

    pointer: str = Field(description="JSON pointer into the body, or the name of a parameter or header.")
    detail: str


class Holder(BaseModel):
    """Who has a case."""

    model_config = ConfigDict(extra="forbid")

    state: Literal["claimed", "approved", "overridden"]
    by: str
    since: datetime = Field(description="When they claimed or resolved it.")
    until: datetime | None = Field(description="When their claim ends; null where it is resolved.")


class ProblemDocument(BaseModel):
    """Why a request was refused (RFC 9457): what, where, and the remedy."""

    model_config = ConfigDict(extra="forbid")

    type: str = Field(description="A URI that names the kind of problem; it does not change.")
    title: str = Field(description="The kind in words.")
    status: int = Field(description="The HTTP status.", ge=400, le=599)
    detail: str = Field(description="What is wrong here.")
    instance: str = Field(description="The request's id, as in the header X-Request-ID and the logs.")
    errors: list[PointedError] | None = Field(default=None, description="Each place in the request that is wrong.")
    holder: Holder | None = Field(default=None, description="Who has the case; only where somebody else does.")
    remedy: str = Field(description="What to do about it.")


class Problem(Exception):
    """A request is refused.

    Args:
        slug: its kind, from the catalogue.
        detail: what is wrong, as a sentence.
        errors: (pointer, detail) of each place.
        remedy: instead of the kind's own.
        headers: headers the answer carries besides Retry-After.
        retry_after: seconds, instead of the kind's own.
        holder: who has the case, and since when, as JSON values.
    """

    def __init__(
        self,
        slug: str,
        detail: str,
        *,
        errors: Iterable[tuple[str, str]] = (),
        remedy: str | None = None,
        headers: Mapping[str, str] | None = None,
        retry_after: int | None = None,
        holder: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = CATALOGUE[slug]
        self.detail = detail.rstrip(".") + "."
        self.errors = tuple(errors)
        self.holder = holder
        self.remedy = remedy or self.kind.remedy
        self.headers = dict(headers or {})
        if (seconds := retry_after or self.kind.retry_after) is not None:
            self.headers["Retry-After"] = str(seconds)

    def document(self, instance: str) -> dict[str, Any]:
        """The problem as JSON values."""
        document: dict[str, Any] = {
            "type": self.kind.type,
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
            "instance": instance,
        }
        if self.errors:
            document["errors"] = [{"pointer": pointer, "detail": detail} for pointer, detail in self.errors]
        if self.holder is not None:
            document["holder"] = dict(self.holder)
        return document | {"remedy": self.remedy}


def response(problem: Problem, instance: str) -> Response:
    """The answer that carries a problem document."""
    body = orjson.dumps(problem.document(instance), option=orjson.OPT_UTC_Z)
    return Response(body, problem.kind.status, headers=problem.headers, media_type=MEDIA_TYPE)


def documented(slugs: Sequence[str]) -> dict[int | str, dict[str, Any]]:
    """What the API's description says of these problems, by status."""
    statuses: dict[int | str, dict[str, Any]] = {}
    for kind in (CATALOGUE[slug] for slug in slugs):
        told = statuses.setdefault(
            kind.status,
            {
                "description": kind.title,
                "content": {
                    MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}, "examples": {}},
                },
            },
        )
        if told["description"] != kind.title and kind.title not in told["description"]:
            told["description"] += f"; {kind.title[0].lower()}{kind.title[1:]}"
        example = Problem(kind.slug, kind.title).document("01JD0000000000000000000000")
        told["content"][MEDIA_TYPE]["examples"][kind.slug] = {"summary": kind.title, "value": example}
        if kind.retry_after is not None:
            told["headers"] = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
    return statuses
