"""The command line: one verb per job."""

from __future__ import annotations

from persuadable.cli import bench, offers, service, study
from persuadable.cli.root import app

__all__ = ["app"]

study.add_to(app)
offers.add_to(app)
service.add_to(app)
bench.add_to(app)
