"""What every test shares: where data lies, how hypothesis behaves, how threads wait."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import HealthCheck, settings

_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
if _DATA.is_dir():
    os.environ.setdefault("PERSUADABLE_DATA", str(_DATA))
# Read by OpenMP when the first library that uses it is loaded, so before any test is collected.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Fitting inside an example takes as long as it takes; in CI the examples are the same every time.
settings.register_profile("laptop", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("laptop"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "laptop")
