"""Writes the measured figures into the README and pages of docs/, from the JSON files beside this.

``python benchmarks/figures.py`` rewrites what stands between ``<!-- figures: NAME -->`` and ``<!-- end -->``;
``--check`` only says whether the documents agree with the files, and fails where they do not.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGES = ("speed", "operations", "off-policy", "intervals", "gate", "allocation", "criteo")
DOCUMENTS = (HERE.parent / "README.md", *(HERE.parent / "docs" / f"{name}.md" for name in PAGES))
BLOCK = re.compile(r"(<!-- figures: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
PACKAGES = ("ours", "econml", "metalearners", "causalml")


def load(name: str) -> Any:
    return json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def runs(name: str) -> dict[str, dict[str, Any]]:
    return {run["name"]: run for run in load(name)["runs"]}


def learners() -> str:
    return table(
        ("", "bare fits", "CPU seconds", "peak memory, MB", "less imports"),
        [
            (name, f"{r['ratio']:.1f}", f"{r['cpu']:.1f}", f"{r['peak']:.0f}", f"{r['peak'] - r['imported']:.0f}")
            for name, r in runs("LEARNERS").items()
        ],
    )


def evaluation() -> str:
    return table(
        ("", "CPU seconds", "peak memory, MB"),
        [(name, f"{r['cpu']:.2f}", f"{r['peak']:.0f}") for name, r in runs("EVALUATION").items()],
    )


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def accuracy() -> str:
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for row in load("ACCURACY")["rows"]:
        package, _, rest = row["contestant"].partition(" ")
        forms = {"X, one model": "X, ours in one model", "X, two models": "X, ours in two models"}
        own = forms.get(rest, row["learner"]) if package == "ours" else row["learner"]
        for key in [own] if package == "ours" or row["learner"] != "X" else list(forms.values()):
            rows.setdefault((row["surface"], key), {})[package] = f"{mean(row['spearman']):.3f}"
    return table(
        ("world", "learner", "ours", *PACKAGES[1:]),
        [(*key, *(found.get(package, "") for package in PACKAGES)) for key, found in rows.items() if "ours" in found],
    )


def hillstrom() -> str:
    return table(
        ("learner", "against", "value", "theirs", "gain", "95% interval of one split", "splits beyond chance"),
        [
            (
                g["learner"],
                g["baseline"],
                f"{g['value']:.4f}",
                f"{g['baseline_value']:.4f}",
                f"{g['difference']:+.4f}",
                f"{g['interval'][0]:+.4f} to {g['interval'][1]:+.4f}",
                f"{g['beyond_chance']:.0%}",
            )
            for g in load("HILLSTROM")["gains"]
        ],
    )


def agreement() -> str:
    def row(r: dict[str, Any]) -> tuple[str, ...]:
        count, depth, rate = r["trees"]
        truth = [f"{mean(side):.3f}" for side in zip(*r["to_truth"], strict=True)] or ["", ""]
        return (
            r["data"],
            f"{count} × {depth} @ {rate:g}",
            f"{mean(r['spearman']):.3f}",
            f"{mean(r['ceiling']):.3f}",
            *truth,
        )

    heads = (
        "data",
        "trees × depth @ rate",
        "ours with econml",
        "econml with itself",
        "ours with the truth",
        "econml's",
    )
    return table(heads, [row(r) for r in load("AGREEMENT")["rows"]])


def bandits() -> str:
    def cell(pair: Sequence[float] | None) -> str:
        return "" if pair is None else f"{pair[0]:.4f}"

    return table(
        ("data", "estimator", "published", "obp here", "ours", "largest difference"),
        [
            (
                r["experiment"],
                r["estimator"],
                *(cell(r[which]) for which in ("published", "theirs", "ours")),
                "" if r["apart"] is None else f"{r['apart']:.0e}",
            )
            for r in load("BANDITS")["rows"]
        ],
    )


def coverage() -> str:
    """Percent of runs held by the normal and the bootstrap interval (or what else a row has), by regime."""
    results = json.loads((HERE.parent / "calibration" / "OPE.json").read_text(encoding="utf-8"))["results"]
    estimators = list(dict.fromkeys(name for regime in results.values() for name in regime["estimators"]))

    def cell(regime: str, name: str) -> str:
        found = results[regime]["estimators"].get(name)
        if found is None:
            return ""
        held = {kind: f"{100 * share:.1f}" for kind, share in found["coverage"].items()}
        told = ", ".join(held[kind] for kind in held if kind not in ("bernstein", "anytime", "delta"))
        return f"**{told}**" if found["interval promised"] else told

    return table(("estimator", *results), [(name, *(cell(regime, name) for regime in results)) for name in estimators])


def gate() -> str:
    """What the gate and a naive interval by IPS decided, by kind of log and of candidate."""
    results = json.loads((HERE.parent / "calibration" / "GATE.json").read_text(encoding="utf-8"))["results"]
    asked = [(name, kind, found) for name, kinds in results.items() for kind, found in kinds.items() if "gate" in found]

    def shares(found: dict[str, Any], who: str) -> tuple[str, ...]:
        return tuple(f"{found[who][decision]:.1%}" for decision in ("GO", "NO_GO", "EXPERIMENT"))

    return table(
        ("log", "candidates", "gate: GO", "NO_GO", "EXPERIMENT", "IPS alone: GO"),
        [
            (name, f"{found['candidates']} {kind}", *shares(found, "gate"), shares(found, "naive")[0])
            for name, kind, found in asked
        ],
    )


def front() -> str:
    """The README's table: the shortest honest summary of two files."""
    fits, ranks = runs("LEARNERS"), load("ACCURACY")["rows"]

    def fit(name: str) -> str:
        return f"{fits[name]['ratio']:.1f}" if name in fits else ""

    def rank(learner: str, package: str) -> str:
        found = [
            mean(r["spearman"])
            for r in ranks
            if r["surface"] == "nonlinear"
            and r["learner"] == learner
            and r["contestant"].startswith(package)
            and "one model" not in r["contestant"]
        ]
        return f"{found[0]:.3f}" if found else ""

    def memory(package: str) -> str:
        return f"{min(r['peak'] for name, r in fits.items() if name.startswith(package + ' ')):.0f}"

    return table(
        ("", *("persuadable", *PACKAGES[1:])),
        [
            (
                "R-learner, in bare XGBoost fits",
                fit("ours R"),
                fit("econml NonParamDML"),
                fit("metalearners R"),
                fit("causalml R, p given"),
            ),
            ("DR-learner", fit("ours DR"), fit("econml DR"), fit("metalearners DR"), ""),
            ("X-learner, two models", fit("ours X, two models"), "", fit("metalearners X"), fit("causalml X")),
            ("R, DR and X together", fit("ours R + DR + X"), "", "", ""),
            ("least peak memory of these, MB", *(memory(package) for package in PACKAGES)),
            *(
                (f"{k}: rank correlation with the truth", *(rank(k, package) for package in PACKAGES))
                for k in ("R", "DR", "X")
            ),
        ],
    )


def judging() -> str:
    """The README's second table."""
    judged = runs("EVALUATION")
    names = ("ours", "scikit-uplift Qini, AUUC, uplift at 3 k", "causalml Qini with 10 draws", "econml Qini")
    return table(
        ("Judging 1,000,000 rows", "persuadable", "scikit-uplift", "causalml", "econml"),
        [
            (
                "what",
                "Qini, AUUC, uplift at 3 shares, with intervals",
                "the same, no intervals",
                "Qini, 10 draws",
                "Qini, interval",
            ),
            ("CPU seconds", *(f"{judged[name]['cpu']:.2f}" for name in names)),
            ("peak memory, MB", *(f"{judged[name]['peak']:,.0f}" for name in names)),
        ],
    )


def ope() -> str:
    """Off-policy estimators beside obp's."""
    judged = runs("OPE")
    what = {
        "ours with errors": "six estimators, with errors, intervals and effective sizes",
        "obp points": "obp: the six point estimates",
        "ours with 100 draws": "six estimators, 100 bootstrap draws of each",
        "obp with 100 draws": "obp: the same",
        "ours streamed": f"six estimators with errors, {load('OPE')['settings']['streamed']:,} rounds from Parquet",
    }
    rows = [(told, f"{judged[name]['cpu']:.2f}", f"{judged[name]['peak']:,.0f}") for name, told in what.items()]
    return table(("1,000,000 rounds × 10 actions", "CPU seconds", "peak memory, MB"), rows)


def allocation() -> str:
    """Allocating under one budget beside solvers of linear programs."""
    against = load("ALLOCATION")["against"]
    judged = {run["name"]: run for run in against["runs"]}
    versions = {name: f"{name.split()[0]} {run['version']}: {name.split(' ', 1)[1]}" for name, run in judged.items()}
    rows = [
        (
            "persuadable, whole offers with a certificate" if name.startswith("ours") else versions[name],
            f"{run['cpu']:.2f}",
            f"{run['ratio']:,.0f}",
            f"{run['peak'] - run['imported']:,.0f}",
        )
        for name, run in judged.items()
    ]
    head = f"{against['settings']['n']:,} units, 5 offers, one budget"
    return table((head, "CPU seconds", "times ours", "MB beyond imports"), rows)


def allocation_growth() -> str:
    """Ours alone as the units grow."""

    def cells(race: dict[str, Any], name: str) -> tuple[str, ...]:
        run = next(run for run in race["runs"] if run["name"] == name)
        beyond = run["peak"] - run["imported"] - race["settings"]["inputs MB"]
        return (f"{run['cpu']:.2f}", f"{run['wall']:.2f}", f"{max(beyond, 0):,.0f}", race["settings"][f"gap of {name}"])

    heads = ("CPU s", "elapsed s", "MB beyond inputs", "gap")
    return table(
        ("units", *(f"one budget: {h}" for h in heads), *(f"six constraints: {h}" for h in heads)),
        [
            (
                f"{race['settings']['n']:,}",
                *cells(race, "ours one budget"),
                *cells(race, "ours six constraints"),
            )
            for race in load("ALLOCATION")["growth"]
        ],
    )


def offers() -> str:
    """Real trials, halving by halving."""

    def told(ends: Sequence[float] | None) -> str:
        return "" if ends is None else f"{ends[0]:+.3g} ({ends[1]:+.3g} to {ends[2]:+.3g})"

    rows = []
    for name, trial in load("OFFERS")["trials"].items():
        for k, run in enumerate(trial["halvings"], start=1):
            heads = [f"{good} of {all_}" for good, all_ in (run["calibrated"], run["cost_calibrated"]) if all_]
            rows.append(
                (
                    f"{name}, {k}",
                    f"{run['evidence']:.2g}",
                    f"{run['offered']:.0%}",
                    told(run["gain"]),
                    told(run["over_average"]),
                    told(run["over_single"]),
                    " and ".join(heads),
                    f"{run['ranks']} of {run['calibrated'][1]}",
                )
            )
    heads = ("trial, halving", "p of no effect", "get an offer", "gain over nobody", "over the best mix by lot")
    return table((*heads, "over the best offer alone", "calibrated: value and cost heads", "tell people apart"), rows)


def service() -> str:
    """Requests a second and CPU time beside the trivial handler."""
    heads = (
        "one worker",
        "requests/s",
        "of the trivial GET's",
        "CPU µs",
        "of the trivial GET's, inverted",
        "p50 ms at half load",
        "p99 ms",
    )
    return table(
        heads,
        [
            (
                case["name"],
                f"{case['per_second']:,.0f}",
                f"{case['ratio']:.2f}",
                f"{case['cpu']:.0f}",
                f"{case['cpu_ratio']:.2f}",
                f"{case['p50']:.1f}",
                f"{case['p99']:.1f}",
            )
            for case in load("SERVICE")["cases"]
        ],
    )


def batches() -> str:
    """Many users at once."""
    return table(
        ("users at once", "users/s", "CPU µs each"),
        [(b["name"], f"{b['per_second']:,.0f}", f"{b['cpu']:.1f}") for b in load("SERVICE")["batches"]],
    )


def memory() -> str:
    """Memory under load over time."""
    m = load("SERVICE")["memory"]
    return table(
        ("minutes", "requests", "MB before", "MB at the end", "drift, MB per hour", "95% interval"),
        [
            (
                f"{m['seconds'] / 60:.0f}",
                f"{m['requests']:,}",
                f"{m['first']:.0f}",
                f"{m['last']:.0f}",
                f"{m['drift']:+.1f}",
                f"{m['low']:+.1f} to {m['high']:+.1f}",
            )
        ],
    )


def faults() -> str:
    """What was broken on purpose, and what became of what had been acknowledged."""
    found = load("FAULTS")

    def held(*runs: dict[str, Any]) -> list[int]:
        return [sum(run[name] for run in runs) for name in ("decisions", "outcomes", "lost", "doubled")]

    rows = [(f"{f['kills']} workers killed (SIGKILL), {f['database']}", held(f)) for f in found["kills"]]
    rows += [
        (f"{f['stops']} stops of PostgreSQL, {f['of which crashes']} of them crashes", held(f))
        for f in found["stopped_database"]
    ]
    rows.append((f"{len(found['full_disk'])} times a full disk, SQLite", held(*found["full_disk"])))
    return table(
        ("fault, under load", "decisions acknowledged", "outcomes acknowledged", "lost", "doubled"),
        [(what, *(f"{n:,}" for n in numbers)) for what, numbers in rows],
    )


def reviews() -> str:
    """The queue of reviews while workers were killed, and while several people claimed one case."""
    found = load("FAULTS")
    rows = [
        (
            f"{f['reviewers']} who work the queue, {f['database']}",
            *(f[what] for what in ("kills", "cases", "decided by people", "lost", "doubled")),
        )
        for f in found["reviews"]
    ]
    for f in found["claims"]:
        people, decided = f["people at once"], f["decisions made"]
        who = f"{people} who claim the same case, {f['database']}: one has it, {people - 1} are told who"
        doubled = f["cases with another number of winners than one"]
        rows.append((who, f["workers killed meanwhile"], f["cases"], decided, f["cases"] - decided, doubled))
    return table(
        ("people at work", "workers killed", "cases", "decided by people", "lost", "doubled"),
        [(who, *(f"{n:,}" for n in numbers)) for who, *numbers in rows],
    )


def budgets() -> str:
    """Races for the last places of a budget."""
    return table(
        ("8 clients, 2 workers", "budgets", "places each", "treated", "refused a place", "beyond the budget"),
        [
            (
                f["database"],
                f"{f['rounds']}",
                f"{f['budget']:,}",
                f"{f['treated']:,}",
                f"{f['worth treating but without a place']:,}",
                f"{f['exceeded by']}",
            )
            for f in load("FAULTS")["exact_budget"]
        ],
    )


def criteo_scale() -> str:
    run = load("CRITEO_SCALE")
    rows = [
        ("rows", f"{run['rows']:,}"),
        ("file, csv.gz", f"{run['megabytes']:.0f} MB"),
        ("CPU time", f"{run['cpu'] / 60:.0f} min"),
        ("memory at most", f"{run['peak'] / 1024:.1f} GiB"),
    ]
    return table(("synthetic stand-in", ""), rows)


FIGURES: dict[str, Callable[[], str]] = {
    "front": front,
    "judging": judging,
    "learners": learners,
    "evaluation": evaluation,
    "ope": ope,
    "allocation": allocation,
    "offers": offers,
    "allocation_growth": allocation_growth,
    "accuracy": accuracy,
    "hillstrom": hillstrom,
    "agreement": agreement,
    "bandits": bandits,
    "coverage": coverage,
    "gate": gate,
    "service": service,
    "batches": batches,
    "memory": memory,
    "faults": faults,
    "reviews": reviews,
    "budgets": budgets,
    "criteo_scale": criteo_scale,
}


def main() -> int:
    stale = []
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        fresh = BLOCK.sub(lambda found: f"{found[1]}{FIGURES[found[2]]()}{found[3]}", text)
        if fresh != text:
            stale.append(document.name)
            if "--check" not in sys.argv:
                document.write_text(fresh, encoding="utf-8")
    if stale and "--check" in sys.argv:
        print(f"Out of date: {', '.join(stale)}. Run: python benchmarks/figures.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
