"""The decision card as plain values: what is archived beside a decision."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from persuadable.value.estimate import Estimate

if TYPE_CHECKING:
    from persuadable.value.gating.diagnostics import Diagnostics, Weights
    from persuadable.value.gating.sensitivity import Sensitivity
    from persuadable.value.gating.verdict import Verdict

__all__ = ["CARD_FORMAT", "card", "card_json"]

CARD_FORMAT = 1


def card(verdict: Verdict) -> dict[str, Any]:
    """All of a verdict as dicts, lists, text, finite numbers and None; what is infinite is None."""
    import persuadable

    content = {
        "format": CARD_FORMAT,
        "persuadable": persuadable.__version__,
        "decision": verdict.decision,
        "reasons": list(verdict.reasons),
        "log": {"name": verdict.log, "rows": verdict.difference.n, "fingerprint": verdict.fingerprint},
        "outcome": verdict.outcome,
        "difference": _estimate(verdict.difference),
        "candidate": _estimate(verdict.candidate),
        "baseline": _estimate(verdict.baseline),
        "checks": [asdict(one) for one in verdict.checks],
        "diagnostics": _diagnostics(verdict.diagnostics),
        "sensitivity": _sensitivity(verdict.sensitivity),
        "experiment": None if verdict.experiment is None else verdict.experiment.as_dict(),
        "rules": verdict.rules.as_dict(),
    }
    plain: dict[str, Any] = _finite(content)
    return plain


def card_json(verdict: Verdict) -> str:
    """The card as JSON text."""
    return json.dumps(card(verdict), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def _estimate(one: Estimate) -> dict[str, Any]:
    return {
        "name": one.name,
        "value": one.value,
        "stderr": one.stderr,
        "interval": list(one.interval),
        "alpha": one.alpha,
        "ess": one.ess,
    }


def _weights(one: Weights) -> dict[str, Any]:
    return {
        "policy": one.policy,
        "ess": one.ess,
        "mean_weight": 1.0 - one.unsupported + one.mean.value,
        "mean_weight_p_value": one.p_value,
        "largest": one.largest,
        "largest_share": one.largest_share,
        "unsupported": one.unsupported,
    }


def _diagnostics(found: Diagnostics) -> dict[str, Any]:
    return {
        "candidate": _weights(found.candidate),
        "baseline": _weights(found.baseline),
        "unsupported": asdict(found.unsupported),
        "largest_variance_share": found.largest_variance_share,
        "frequencies": [asdict(one) for one in found.frequencies],
        "conditional": None if found.conditional is None else asdict(found.conditional),
        "estimates": {name: _estimate(one) for name, one in found.agreement.estimates.items()},
        "contrasts": {name: _estimate(one) for name, one in found.agreement.contrasts.items()},
        "placebo": [{**_estimate(one.difference), "name": one.name, "p_value": one.p_value} for one in found.placebo],
        "mass_by_propensity": None
        if found.mass is None
        else {
            "propensity": list(found.mass.labels),
            **{name: getattr(found.mass, name).tolist() for name in ("candidate", "baseline", "logged")},
        },
    }


def _sensitivity(found: Sensitivity) -> dict[str, Any]:
    arrays = ("lower", "upper", "surely_above", "surely_below")
    return {
        "verdict": found.verdict,
        "tipping": found.tipping,
        "tipping_estimate": found.tipping_estimate,
        "beyond": math.isinf(found.tipping),
        "margin": found.margin,
        "lambda": found.grid.tolist(),
        **{name: getattr(found, name).tolist() for name in arrays},
    }


def _finite(value: Any) -> Any:
    """Infinities as None, tuples as lists, NumPy numbers as Python's."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and math.isinf(value) else value
