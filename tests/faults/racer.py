"""Asks for places of a budget until there are none: ``racer.py PORT CAMPAIGN N SEED USERS.json``.

Prints how many of its users were treated, and how many were worth it and got no place any more.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

from client import insist  # started as a script: its folder is where Python looks first

ENOUGH = 5  # requests in a row that found the budget spent


def main(port: int, campaign: str, budget: int, seed: int, users: str) -> None:
    """Race."""
    rng = random.Random(seed)
    pool = json.loads(Path(users).read_text(encoding="utf-8"))
    treated = spared = in_vain = turn = 0
    while in_vain < ENOUGH and turn < 2_000:
        name = f"{campaign}-{seed}-{turn}"
        units = [{"unit": f"{name}-{i}", "features": rng.choice(pool)} for i in range(rng.randint(1, 4))]
        body = {"units": units, "budget_units": budget, "population": budget, "campaign": campaign}
        told, _, _ = insist(port, "/v1/decide", body, name)
        reasons = [d["reason"] for d in told["decisions"]]
        treated += sum(d["action"] != "control" for d in told["decisions"])
        spared += reasons.count("budget-spent")
        in_vain = in_vain + 1 if "budget-spent" in reasons else in_vain
        turn += 1
    print(treated, spared)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
