"""What schemathesis does not know by itself: lines of JSON, keys that may be used once, errors told line by line."""

from __future__ import annotations

import json
import re
from itertools import count
from typing import Any

import schemathesis
from schemathesis.core.parameters import ParameterLocation

KEY = "Idempotency-Key"
LINES = "application/x-ndjson"
PARAMETERS = {"budget_share", "budget_units", "budget_per_head", "budget_amount", "population", "campaign"}
numbers = count()

schemathesis.serializer.alias(["application/vnd.apache.arrow.stream", "application/zip"], "application/octet-stream")


@schemathesis.serializer(LINES)
def lines(context: Any, value: Any) -> bytes:
    """A list is one line for each of its members; text is sent as it is."""
    if isinstance(value, str):
        return value.encode()
    return b"".join(json.dumps(line).encode() + b"\n" for line in (value if isinstance(value, list) else [value]))


@schemathesis.deserializer(LINES)
def from_lines(context: Any, response: Any) -> list[Any]:
    """One member for each line."""
    return [json.loads(line) for line in response.content.splitlines()]


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """A valid idempotency key is made a new one: with another body the same would be refused, as it should."""
    key = (case.headers or {}).get(KEY)
    if getattr(case.meta.phase.data, "parameter", None) == "Authorization":
        return  # sent without that header on purpose, which a change to any header would undo
    if isinstance(key, str) and re.fullmatch("[!-~]{1,240}", key):
        case.headers[KEY] = f"{key}.{next(numbers)}"


@schemathesis.check
def a_bad_line_is_a_problem(context: Any, response: Any, case: Any) -> None:
    """The batch is the one operation that answers 200 to a bad body: a problem in place of each bad line."""
    if case.media_type != LINES or response.status_code != 200 or not case.meta.generation.mode.is_negative:
        return
    if set(case.query or {}) - PARAMETERS:
        return  # one nobody knows, which is passed over
    bent = {place for place, part in case.meta.components.items() if part.mode.is_negative}
    assert bent <= {ParameterLocation.BODY}, "bad parameters were accepted"
    assert any("problem" in line for line in from_lines(context, response)), "no line is told to be bad"
