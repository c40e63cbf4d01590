"""What a study found, in sentences."""

from __future__ import annotations

from persuadable.report import Verdict
from persuadable.report.words import interval, level, number, p_phrase, percent
from persuadable.study.result import Study
from persuadable.study.run import RESPONSE

__all__ = ["SUSPICIOUS", "doubts", "estimand", "limits", "verdict"]

SUSPICIOUS = 0.01
"""p-value of the balance tests below which the comparison is called into question."""


def verdict(study: Study) -> Verdict:
    """The decision: whom to treat, what it brings against drawing lots, and what it rests on."""
    against = study.decision["random"]
    gain, own = against.difference, study.decision.policy
    low, high = gain.interval
    tone, judgement = (
        ("good", "beats") if low > 0 else ("bad", "does worse than") if high < 0 else ("unclear", "cannot be told from")
    )
    outcome = study.log.primary
    headline = (
        f"Treating the {percent(own.share, 0)} with the largest predicted effects {judgement} "
        f"treating as many drawn by lot."
    )
    sign = "more" if gain.value >= 0 else "less"
    gained = (
        f"It brings {number(abs(gain.value), 3)} {outcome} per head of everybody {sign} "
        f"({level(gain.alpha)} of the gain {interval(low, high)}, {p_phrase(gain.p_value)}): "
        f"{number(own.value, 4)} against {number(against.baseline.value, 4)}."
    )
    doubted = doubts(study)
    said = (*doubted, gained, _against_response(study), _against_all(study), study.policy.explain())
    return Verdict(headline, said, "unclear" if doubted else tone)  # type: ignore[arg-type]


def _against_response(study: Study) -> str:
    gain = study.decision[RESPONSE].difference
    low, high = gain.interval
    said = f"{number(gain.value, 3)} {study.log.primary} per head ({interval(low, high)})"
    if low > 0:
        return f"It also beats treating those likeliest to respond, the ranking of a non-causal model, by {said}."
    if high < 0:
        worse = f"{number(-gain.value, 3)} {study.log.primary} per head ({interval(-high, -low)})"
        return f"Treating those likeliest to respond, the ranking of a non-causal model, does better, by {worse}."
    return (
        "Against treating those likeliest to respond, the ranking of a non-causal model, "
        f"the difference is within chance: {said}."
    )


def _against_all(study: Study) -> str:
    everybody = study.budgets.treat_all
    nobody = study.budgets.treat_none
    lot = ", each with a treatment drawn by lot," if study.log.n_actions > 2 else ""
    return (
        f"Treating everybody{lot} would bring {number(everybody.value, 4)} {study.log.primary} per head, "
        f"treating nobody {number(nobody.value, 4)}."
    )


def estimand(study: Study) -> str:
    """What is estimated, of what on what, against what."""
    actions = study.log.actions
    return (
        f"The effect of {_listed(actions.treatments)} on {study.log.primary} per head, against "
        f"{actions.control}, given the features: E[Y(a) − Y(0) | x]."
    )


def doubts(study: Study) -> tuple[str, ...]:
    """Signs that the comparison itself is not fair, which no interval knows of."""
    found = []
    if study.balance.shares_p_value < SUSPICIOUS:
        expected = study.log.propensity().mean(axis=0)
        told = ", ".join(
            f"{label} {percent(float((study.log.action == a).mean()))} against {percent(float(expected[a]))}"
            for a, label in enumerate(study.log.actions)
        )
        found.append(
            "The shares of the arms are not those the propensities imply "
            f"({told}; {p_phrase(study.balance.shares_p_value)}): the propensities are wrong, and so is the rest."
        )
    if study.balance.p_value < SUSPICIOUS:
        found.append(
            f"The arms differ in their features by more than chance ({p_phrase(study.balance.p_value)}), most in "
            f"{study.balance.rows[0].feature}. If the action itself changed a feature, leave that feature out; if the "
            "action was not drawn by lot, give its propensities or have them estimated. "
            "Until then effects may be biased."
        )
    return tuple(found)


def limits(study: Study) -> tuple[str, ...]:
    """What the study cannot say, as far as it can see it itself."""
    said = [
        "Effects hold for people like those in this log, for this action, at that time; a new season, "
        "audience or creative can change them.",
        "Each person's outcome is taken to depend on their own action only: no word of mouth, no shared stock.",
        "Predicted effects rank people; taken one by one they are noisy and shrunk. Trust the measured effects of "
        "groups, which have intervals.",
    ]
    if study.log.propensity_source == "logged":
        said.append("The logged propensities are taken to be right.")
    elif study.log.propensity_source == "estimated":
        said.append(
            "Propensities were estimated: whatever drove the action and is not among the features biases effects."
        )
    else:
        said.append("The log is taken as a completely randomised experiment: no propensities were given.")
    if any(report.ranking.autoc.interval[0] <= 0 for report in study.treatments):
        said.append(
            "For at least one treatment the ranking cannot be told from a random one (AUTOC's interval holds 0)."
        )
    return (*doubts(study), *said)


def _listed(labels: tuple[str, ...]) -> str:
    return labels[0] if len(labels) == 1 else f"{', '.join(labels[:-1])} and {labels[-1]}"
