"""The page at /docs: Swagger UI, from files that are installed with the service, so that it needs no internet."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

__all__ = ["manual"]

# Nothing but what this service serves; Swagger UI draws some of its signs from data.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>persuadable: the API</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
<link rel="icon" href="data:,">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
# What the page asks for is told relative to it, so that it works behind a proxy with a path of its own.
START = """SwaggerUIBundle({
  url: new URL("openapi.json", document.baseURI).href,
  dom_id: "#swagger-ui",
  deepLinking: true,
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout"
});
"""
KINDS = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css", "start.js": "text/javascript"}


def manual() -> list[Route]:
    """The page and what it is made of; open to anybody, as the document it draws."""
    return [Route("/docs", _page), *(Route(f"/docs/{name}", _part) for name in KINDS)]


async def _page(request: Request) -> Response:
    return Response(PAGE, media_type="text/html", headers=HEADERS)


async def _part(request: Request) -> Response:
    name = request.url.path.rpartition("/")[2]
    return Response(_content(name), media_type=KINDS[name], headers=HEADERS | {"Cache-Control": "max-age=3600"})


@cache
def _content(name: str) -> bytes:
    return START.encode() if name == "start.js" else (files("fastapi_offline") / "static" / name).read_bytes()
