"""Runs in obp's environment: what obp reads of the Open Bandit sample (see test_obp.py)."""

from __future__ import annotations

import json
import runpy
import sys

import numpy as np


def main(given: str, answer: str) -> None:
    settings = json.loads(str(np.load(given)["settings"]))
    obp = runpy.run_path(settings["importer"])["import_obp"]()
    data = obp.dataset.OpenBanditDataset(behavior_policy=settings["policy"], campaign=settings["campaign"])
    feedback = data.obtain_batch_bandit_feedback()
    np.savez(answer, **{name: feedback[name] for name in ("action", "reward", "pscore", "position")})


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
