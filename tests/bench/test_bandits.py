"""The published tables: what is made of obp's answer, that answer on a few runs, and the file that was written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from persuadable import peers
from persuadable.bench import Bandits
from persuadable.bench.bandits import PUBLISHED, lines

WRITTEN = Path(__file__).parents[2] / "benchmarks" / "BANDITS.json"
needs_obp = pytest.mark.skipif(not peers.is_built("obp"), reason="obp has no environment here")


def answer(runs: int = 2, n: int = 60, actions: int = 3) -> dict[str, np.ndarray]:
    """What obp might have answered: its estimates by a loop over the rounds, as the formulas have it."""
    rng = np.random.default_rng(0)
    candidate = rng.dirichlet(np.ones(actions), 2)
    which = rng.integers(0, 2, (runs, n))
    action = rng.integers(0, actions, (runs, n))
    reward = rng.integers(0, 2, (runs, n)).astype(float)
    pscore = rng.uniform(0.2, 0.6, (runs, n))
    q_hat = rng.uniform(size=(runs, n, actions))
    tau, lam = 2.0, 3.0
    estimates = np.zeros((runs, 7))
    for run in range(runs):
        dm, w, y, q = [], [], reward[run], []
        for i in range(n):
            pi = candidate[which[run, i]]
            dm.append(sum(pi[a] * q_hat[run, i, a] for a in range(actions)))
            w.append(pi[action[run, i]] / pscore[run, i])
            q.append(q_hat[run, i, action[run, i]])
        d, w, r = np.mean(dm), np.array(w), y - np.array(q)
        estimates[run] = [
            d,
            np.mean(w * y),
            np.sum(w * y) / np.sum(w),
            d + np.mean(w * r),
            d + np.sum(w * r) / np.sum(w),
            d + np.mean(np.where(w <= tau, w, 0) * r),
            d + np.mean(lam * w / (w * w + lam) * r),
        ]
    return {
        "truth": np.full(runs, 0.4),
        "estimates": estimates,
        "chosen": np.tile([tau, lam], (runs, 1)),
        "action": action,
        "reward": reward,
        "pscore": pscore,
        "q_hat": q_hat,
        "candidate": candidate,
        "which": which,
    }


def test_a_line_has_the_published_the_repeated_and_our_error():
    given = answer()
    made = lines("digits", given)
    assert [line.estimator for line in made[:7]] == list(PUBLISHED["digits"])
    for k, line in enumerate(made[:7]):
        errors = np.abs(given["estimates"][:, k] - 0.4) / 0.4
        assert line.apart is not None
        assert line.apart < 1e-14
        assert line.theirs == pytest.approx((errors.mean(), errors.std(ddof=1)))
        assert line.ours == pytest.approx(line.theirs)
        mean, deviation = PUBLISHED["digits"][line.estimator]
        assert line.published == (mean, deviation)
        assert line.away == pytest.approx((errors.mean() - mean) / deviation * np.sqrt(2))
    for line in made[7:]:  # tuned by us: there is nothing to be equal to
        assert (line.published, line.theirs, line.apart, line.away) == (None, None, None, None)


def test_a_difference_would_be_seen():
    given = answer()
    given["estimates"][1, 3] += 1e-6
    assert lines("digits", given)[3].apart == pytest.approx(1e-6)


def test_the_table_is_printed_and_saved(tmp_path):
    made = Bandits({"runs": 2}, tuple(lines("open-bandit", answer())))
    assert "0.3111 (0.3112)" in str(made)
    assert json.loads(made.save(tmp_path / "b.json").read_text())["rows"][1]["estimator"] == "ips"


def test_what_was_measured_agrees_with_obp_and_with_what_was_published():
    """Every published mean within two of its own standard errors, ours equal to obp's to 1e-8."""
    told = json.loads(WRITTEN.read_text(encoding="utf-8"))
    rows = [row for row in told["rows"] if row["published"]]
    assert told["settings"]["runs"] == 30
    assert len(rows) == 14
    for row in rows:
        assert row["apart"] <= 1e-8, row
        assert abs(row["away"]) <= 2, row
        assert row["ours"] == pytest.approx(row["theirs"], abs=1e-8), row
    exact = {row["estimator"]: row for row in rows if row["experiment"] == "open-bandit"}
    for name in ("ips", "snips"):  # no model is fitted, so no version of scikit-learn has a say
        assert exact[name]["ours"] == pytest.approx(exact[name]["published"], abs=5e-7)


@needs_obp
def test_two_runs_of_the_digits_by_obp_itself():
    folder = Path(peers.__file__).parent
    told = {"experiment": "digits", "runs": 2, "simulations": 0, "importer": str(folder / "obp_estimates.py")}
    found = peers.call("obp", folder / "obp_experiments.py", {}, told, threads=1)
    assert found["action"].shape == (2, 1258)
    made = lines("digits", found)
    for line in made[:7]:
        assert line.apart is not None
        assert line.apart < 1e-12
        assert abs(line.away) < 3
