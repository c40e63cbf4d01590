"""What a study found, in sentences."""

from __future__ import annotations

from persuadable.design import Balance
from persuadable.log import DecisionLog
from persuadable.report import Verdict
from persuadable.report.words import interval, level, number, p_phrase, percent
from persuadable.study.result import Study
from persuadable.study.run import RESPONSE

__all__ = [
    "NOTHING_TO_REVIEW",
    "SUSPICIOUS",
    "THIN",
    "comparison_doubts",
    "disbelief",
    "doubts",
    "estimand",
    "limits",
    "thin",
    "verdict",
]

SUSPICIOUS = 0.01
"""p-value of the balance tests below which the comparison is called into question."""
NOTHING_TO_REVIEW = "The policy treats nobody, so there is nothing to look at."
THIN = 100
"""Held-out rows of an arm with a yes-or-no outcome, below which the arm is called thin."""


def verdict(study: Study) -> Verdict:
    """The decision: whom to treat, what it brings against drawing lots, and what it rests on.

    Where the comparison itself is in doubt the headline says that, and nothing of who does better.
    """
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
    doubted, few = doubts(study), thin(study)
    if doubted:
        headline, tone = disbelief(study.balance), "unclear"
    elif not own.share:
        headline, tone = "Treat nobody: no effect is predicted to be worth it.", "unclear"
    elif few is not None:
        headline = f"So few had {outcome} that this is rough: {headline[0].lower()}{headline[1:]}"
        tone = "unclear"
    compared = (_against_response(study), _against_all(study), *_money(study))
    said = (*doubted, *(() if few is None else (few,)), gained, *compared, study.policy.explain())
    return Verdict(headline, said, tone)  # type: ignore[arg-type]


def _against_response(study: Study) -> str:
    gain = study.decision[RESPONSE].difference
    low, high = gain.interval
    said = f"{number(abs(gain.value), 3)} {study.log.primary} per head"
    against = "Against treating those likeliest to respond, the ranking of a non-causal model,"
    if low > 0:
        return f"{against} it brings {said} more ({interval(low, high)})."
    if high < 0:
        return f"{against} it brings {said} less ({interval(-high, -low)})."
    sign = "−" if gain.value < 0 else ""
    return f"{against} the difference is within chance: {sign}{said} ({interval(low, high)})."


def _against_all(study: Study) -> str:
    everybody = study.budgets.treat_all
    nobody = study.budgets.treat_none
    lot = ", each with a treatment drawn by lot," if study.log.n_actions > 2 else ""
    return (
        f"Treating everybody{lot} would bring {number(everybody.value, 4)} {study.log.primary} per head, "
        f"treating nobody {number(nobody.value, 4)}."
    )


def _money(study: Study) -> tuple[str, ...]:
    """What the policy earns, where economics were given."""
    if study.returns is None:
        return ()
    own, money = study.returns.rows[0], study.returns.economics
    if own.incremental_roas is None:
        return ("Nobody is worth a contact, so nothing is spent.",)
    bounded = own.incremental_roas.shape == "interval"
    ends = interval(*own.incremental_roas.interval) if bounded else "no bounds"
    return (
        f"Its incremental ROAS is {number(own.incremental_roas.value, 3)} ({ends}), and for "
        f"{study.returns.population:,.0f} people it spends {money.money(own.spend.value)} for a profit of "
        f"{money.amounts(own.profit.value, *own.profit.interval)}.",
    )


def thin(study: Study) -> str | None:
    """How little the held-out rows hold of a rare outcome; None where that is enough."""
    test = study.test
    if not test.is_binary(test.primary):
        return None
    counts = [(int(((test.action == a) & (test.outcome() > 0)).sum()), a) for a in range(test.n_actions)]
    fewest, arm = min(counts)
    if fewest >= THIN:
        return None
    rows = int((test.action == arm).sum())
    return (
        f"{fewest:,} of the {rows:,} held-out rows of {test.actions.names[arm]} have {test.primary}. Every effect is a "
        "difference from those few: intervals are wide, normal approximations rough, and a point estimate alone is "
        "worth nothing."
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
    return comparison_doubts(study.log, study.balance)


def comparison_doubts(log: DecisionLog, balance: Balance) -> tuple[str, ...]:
    """The same of a log and its balance."""
    found = []
    if balance.shares_p_value < SUSPICIOUS:
        expected = log.propensity().mean(axis=0)
        told = ", ".join(
            f"{label} {percent(float((log.action == a).mean()))} against {percent(float(expected[a]))}"
            for a, label in enumerate(log.actions)
        )
        found.append(
            "The shares of the arms are not those the propensities imply "
            f"({told}; {p_phrase(balance.shares_p_value)}): the propensities are wrong, and so is the rest."
        )
    if balance.p_value < SUSPICIOUS:
        found.append(
            f"The arms differ in their features by more than chance ({p_phrase(balance.p_value)}), most in "
            f"{balance.rows[0].feature}. If the action itself changed a feature, leave that feature out; if the "
            "action was not drawn by lot, give its propensities or have them estimated. "
            "Until then effects may be biased."
        )
    return tuple(found)


def disbelief(balance: Balance) -> str:
    """The headline of a study whose comparison is in doubt."""
    what = (
        "the arms differ by more than chance"
        if balance.p_value < SUSPICIOUS
        else "the shares of the arms are not those the propensities imply"
    )
    return f"Not to be believed yet: {what}."


def limits(study: Study) -> tuple[str, ...]:
    """What the study cannot say, as far as it can see it itself."""
    said = [
        "Effects hold for people like those in this log, for this action, at that time; a new season, "
        "audience or creative can change them.",
        "Each person's outcome is taken to depend on their own action only: no word of mouth, no shared stock.",
        "Predicted effects rank people; taken one by one they are noisy and shrunk. Trust the measured effects of "
        "groups, which have intervals.",
    ]
    few = thin(study)
    if few is not None:
        said.insert(0, few)
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
