"""The least a FastAPI service can do, as a measure: ``python trivial.py PORT``.

A GET that answers a constant, and a POST whose body of units is validated by a pydantic model. Both run under the same
server with the same flags as ``persuadable serve``.
"""

from __future__ import annotations

import sys

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()


class Unit(BaseModel):
    """A user and its features."""

    unit: str
    features: dict[str, float | str | None]


class Units(BaseModel):
    """A request of the service's shape."""

    units: list[Unit]
    budget_share: float | None = None


@app.get("/")
async def constant() -> dict[str, str]:
    """A constant."""
    return {"status": "ok"}


@app.post("/validated")
async def validated(body: Units) -> dict[str, int]:
    """How many units a valid body holds."""
    return {"units": len(body.units)}


if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        workers=1,
        access_log=False,
        log_level="warning",
    )
