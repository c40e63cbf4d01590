"""The service as the app sees it: one method per call, and every failure as a sentence."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx

from persuadable.app.address import service_address, usable_key
from persuadable.app.spending import Spending, terms
from persuadable.errors import PersuadableError

__all__ = ["Document", "Service", "ServiceAway", "ServiceError", "ServiceRefused"]

Document = dict[str, Any]

CONNECT, ANSWER = 3.0, 30.0
NEW_KEY = (
    "Create one with 'persuadable keys create app --role read', and start the app with it in the environment "
    "variable PERSUADABLE_API_KEY."
)


REVIEWER_KEY = NEW_KEY.replace("--role read", "--role read --role review")


class ServiceError(PersuadableError):
    """The service did not do what the app asked; the message is written for whoever looks at the app."""


class ServiceAway(ServiceError):
    """Nobody answers, or not in time."""


class ServiceRefused(ServiceError):
    """The service answered with a problem.

    Attributes:
        status: the HTTP status.
        errors: (JSON pointer, what is wrong there), as the problem document lists them.
    """

    def __init__(
        self, what: str, *, status: int, errors: Sequence[tuple[str, str]] = (), remedy: str | None = None
    ) -> None:
        super().__init__(what, remedy=remedy)
        self.status, self.errors = status, tuple(errors)


@dataclass(frozen=True, slots=True, eq=False)
class Service:
    """A service at an address.

    Attributes:
        address: http(s)://HOST[:PORT].
        http: the connections, safe to share between threads.
    """

    address: str
    http: httpx.Client

    @classmethod
    def at(cls, address: str, key: str | None = None, *, timeout: float = ANSWER) -> Service:
        """The service at an address.

        Args:
            address: where ``persuadable serve`` listens.
            key: an API key with the role read; None where the service needs none.
            timeout: seconds an answer may take.

        Raises:
            ParameterError: no address of a service, or a key that cannot be sent.
        """
        told, secret = service_address(address), usable_key(key)
        headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {secret}"} if secret else {})
        # The service stands in the same house: no proxy between, no password from a .netrc.
        http = httpx.Client(
            base_url=told,
            headers=headers,
            timeout=httpx.Timeout(timeout, connect=CONNECT),
            trust_env=False,
            verify=ssl.create_default_context(),
        )
        return cls(told, http)

    def contract(self) -> Document:
        """The features the model needs."""
        return self._get("/v1/contract")

    def policy(self) -> Document:
        """Budgets from 0 to 100%, and what each is predicted and measured to bring."""
        return self._get("/v1/policy")

    def evaluation(self) -> Document | None:
        """What was measured on held-out rows; None where the bundle holds nothing of it."""
        return self._get_or_none("/v1/evaluation")

    def card(self) -> Document | None:
        """The model card; None where the bundle has none."""
        return self._get_or_none("/v1/model-card") or None

    def live(self) -> Document:
        """What the service did in the last hour."""
        return self._get("/v1/live")

    def score(self, units: Sequence[Mapping[str, Any]], budget: Spending) -> tuple[list[Document], str]:
        """A decision for every user, remembered by nobody, and the version of the bundle that made them.

        Args:
            units: {"unit", "features"} each, and maybe "eligible".
            budget: share of the population it pays for, or money per head.
        """
        answer = self._ask("POST", "/v1/score", {"units": list(units), **terms(budget)})
        return answer["decisions"], answer["bundle"]

    def explain(self, features: Mapping[str, Any], treatment: str) -> Document:
        """What moved one user's effect: base, contributions and their sum."""
        return self._ask("POST", "/v1/explain", {"features": dict(features), "treatment": treatment})

    def reviews(self, state: str = "open", code: str | None = None, *, limit: int = 50) -> Document:
        """The first cases of the review queue in a state, maybe of one reason code, and how many wait in all."""
        asked = {"state": state, "limit": str(limit)} | ({} if code is None else {"code": code})
        return self._get(f"/v1/reviews?{urlencode(asked)}")

    def review(self, case: str) -> Document:
        """One case."""
        return self._get(f"/v1/reviews/{case}")

    def claim(self, case: str, reviewer: str) -> Document:
        """Take a case."""
        return self._do(case, "claim", {"reviewer": reviewer})

    def release(self, case: str, reviewer: str) -> Document:
        """Give a case back."""
        return self._do(case, "release", {"reviewer": reviewer})

    def approve(self, case: str, reviewer: str, why: str = "") -> Document:
        """Give what the policy proposed."""
        return self._do(case, "approve", {"reviewer": reviewer, "why": why or None})

    def override(self, case: str, reviewer: str, action: str, why: str) -> Document:
        """Give something else."""
        return self._do(case, "override", {"reviewer": reviewer, "action": action, "why": why})

    def _do(self, case: str, verb: str, body: Document) -> Document:
        try:
            return self._ask("POST", f"/v1/reviews/{case}/{verb}", body)
        except ServiceRefused as refused:
            if refused.status == 403:
                said = "The app's key may look at cases, and not decide them"
                raise ServiceRefused(said, status=403, remedy=REVIEWER_KEY) from None
            raise

    def _get(self, path: str) -> Document:
        return self._ask("GET", path)

    def _get_or_none(self, path: str) -> Document | None:
        try:
            return self._get(path)
        except ServiceRefused as refused:
            if refused.status == 404:
                return None
            raise

    def _ask(self, method: str, path: str, body: Document | None = None) -> Document:
        try:
            answer = self.http.request(method, path, json=body)
        except httpx.TimeoutException as error:
            raise ServiceAway(
                f"The service at {self.address} takes too long to answer",
                remedy="It may be busy or starting: wait a little and try again.",
            ) from error
        except httpx.TransportError as error:
            raise ServiceAway(
                f"The service at {self.address} does not answer",
                remedy="Start it with 'persuadable serve', or start the app with --service and its address; "
                "then try again.",
            ) from error
        content = _content(answer)
        if answer.is_success and content is not None:
            return content
        raise self._refusal(answer, content)

    def _refusal(self, answer: httpx.Response, content: Document | None) -> ServiceError:
        status = answer.status_code
        if content is None or (status >= 400 and "title" not in content):
            return ServiceAway(
                f"What answers at {self.address} is not the persuadable service",
                remedy="Look at the address that 'persuadable serve' names, and start the app with --service and it.",
            )
        if status == 401:
            return ServiceRefused("The service asks for a key it knows", status=status, remedy=NEW_KEY)
        if status == 403:
            return ServiceRefused("The app's key is not allowed to see this", status=status, remedy=NEW_KEY)
        if status in (429, 503):
            wait = answer.headers.get("Retry-After", "")
            when = f"in {wait} second{'s' * (wait != '1')}" if wait.isdigit() else "in a moment"
            return ServiceAway(_told(content), remedy=f"Try again {when}.")
        errors = [(str(e.get("pointer", "")), str(e.get("detail", ""))) for e in content.get("errors") or ()]
        if errors:
            # Each says what to do; the detail of the whole only counts them.
            return ServiceRefused(str(content["title"]).rstrip(". "), status=status, errors=errors)
        return ServiceRefused(_told(content), status=status, remedy=content.get("remedy"))


def _content(answer: httpx.Response) -> Document | None:
    """The JSON object answered; None where it is none."""
    try:
        content = answer.json()
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _told(problem: Document) -> str:
    """A problem document's own words, as one sentence without its full stop."""
    return str(problem.get("detail") or problem["title"]).rstrip(". ")
