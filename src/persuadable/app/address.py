"""Where the service is, and what opens it: checked before anything is sent."""

from __future__ import annotations

from urllib.parse import urlsplit

from persuadable.errors import ParameterError

__all__ = ["service_address", "usable_key"]

EXAMPLE = "Pass the address that 'persuadable serve' names, such as http://127.0.0.1:8000."


def service_address(text: str) -> str:
    """The address of a service, without a slash at its end.

    Raises:
        ParameterError: it is not http(s)://HOST[:PORT][/PATH], or holds a user, a password or a query.
    """
    try:
        parts = urlsplit(text.strip())
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        sound = False
    if not sound:
        raise ParameterError(f"{text!r} is not the address of a service", remedy=EXAMPLE)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ParameterError(
            "The address of the service holds more than a host, a port and a path",
            remedy=f"{EXAMPLE} A key goes into the environment variable PERSUADABLE_API_KEY.",
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def usable_key(key: str | None) -> str | None:
    """The key as a header can carry it; None where there is none.

    Raises:
        ParameterError: it holds something other than visible ASCII; the message does not repeat it.
    """
    if not key:
        return None
    if not all("!" <= letter <= "~" for letter in key):
        raise ParameterError(
            "The key in PERSUADABLE_API_KEY holds a space or a letter no key has",
            remedy="Copy the line 'psk_…' that 'persuadable keys create' wrote, and nothing else.",
        )
    return key
