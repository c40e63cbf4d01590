"""Heavy libraries are loaded by the work that needs them and by nothing else.

Time is not measured here: what is loaded decides it, and that is the same on every machine.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

NEVER = {
    "causalml", "econml", "fastapi", "matplotlib", "numba", "pandas", "pyarrow", "pyspark", "sklearn", "sklift",
    "sqlalchemy", "statsmodels", "streamlit", "torch", "uvicorn",
}  # fmt: skip
# scipy.special is light and wherever a p-value is; scipy.stats takes longer to load than all the rest.
HEAVY = NEVER | {"jinja2", "plotly", "polars", "pooch", "requests", "rich", "scipy.stats", "typer", "xgboost"}
# What `import xgboost` loads of its own accord where it is installed.
XGBOOST = {"xgboost", "pandas", "pyarrow", "rich", "scipy.stats", "sklearn"}


def loaded_after(code: str) -> set[str]:
    """Top-level modules, and scipy.stats, that a fresh interpreter holds after running ``code``."""
    probe = (
        "import sys; before = set(sys.modules)\n"
        f"{code}\n"
        "new = set(sys.modules) - before\n"
        "print(*{m.partition('.')[0] for m in new}, *({'scipy.stats'} & new), sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_importing_the_package_loads_no_library_at_all() -> None:
    ours = {m for m in loaded_after("import persuadable") if m not in sys.stdlib_module_names}
    assert ours == {"persuadable"}


LOG = (
    "import numpy as np, persuadable as ps\n"
    "X = np.random.default_rng(0).normal(size=(200, 3)); w = np.arange(200) % 2\n"
    "log = ps.DecisionLog.from_arrays(X, w, X[:, 0] + w)\n"
)


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        pytest.param(LOG, set(), id="a log from arrays"),
        pytest.param("import persuadable as ps; ps.effects.XLearner()", set(), id="naming a learner"),
        pytest.param(LOG + "ps.effects.TLearner().fit(log)", XGBOOST, id="fitting a learner"),
        pytest.param("import persuadable as ps; ps.value, ps.policies, ps.design", set(), id="value"),
        pytest.param("import persuadable as ps; ps.report", set(), id="naming the report"),
        pytest.param("import persuadable.cli", {"rich", "typer"}, id="the command line"),
    ],
)
def test_a_job_loads_only_what_it_needs(code: str, allowed: set[str]) -> None:
    assert loaded_after(code) & (HEAVY - allowed) == set()
