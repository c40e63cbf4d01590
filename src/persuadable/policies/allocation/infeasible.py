"""Which constraints cannot hold together, and by how much.

With nothing to gain, the dual is at most 0 wherever there is an allocation; a negative value is a proof, in the manner
of Farkas, that there is none, and its prices name the constraints it needs. From these every one is struck that the
proof can do without. Where units are few HiGHS is asked instead, which also sees what only whole units make impossible.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from persuadable.errors import Infeasible
from persuadable.policies.allocation.constraints import Row
from persuadable.policies.allocation.dual import descend
from persuadable.policies.allocation.oracle import Lines, Oracle
from persuadable.policies.allocation.rounding import refuted

__all__ = ["infeasible"]

CLEAR = 1e-7  # of a mean use per unit: a proof by less may be rounding
CLOSE = 1e-5  # of what can be reached: how close it is told
NAMED = 1e-6  # of the largest price: constraints of a smaller one are no part of a proof
FEW = 1000  # units of which HiGHS is asked


def infeasible(oracle: Oracle, why: str = "") -> Infeasible:
    """The error that names the constraints which leave no allocation; ``why`` one was not found, for want of proof."""
    least, most, *_ = oracle.reach()
    alone = np.flatnonzero(least > oracle.lines.limit + 1e-12 * np.maximum(np.abs(least), np.abs(most)))
    rows = oracle.lines.rows
    if alone.size:
        told = [_alone(rows[j], -least[j] if rows[j].at_least else least[j]) for j in alone.tolist()]
        return Infeasible("; ".join(told), remedy="Relax it.", constraints=_names(rows, alone))
    proof = _proof(oracle, np.arange(len(rows)))
    if proof is None:
        return Infeasible(
            f"No allocation of whole units was found that holds every constraint, and no proof that there is none{why}",
            remedy="Relax one of them a little.",
            constraints=_names(rows, np.arange(len(rows))),
        )
    for j in proof.tolist():
        if j in proof:
            fewer = _proof(oracle, proof[proof != j])
            proof = proof if fewer is None else fewer
    return Infeasible(
        f"There is no allocation in which {_together(rows, proof)}{_reached(oracle, proof)}",
        remedy="Relax one of them.",
        constraints=_names(rows, proof),
    )


def _names(rows: tuple[Row, ...], which: NDArray[np.intp]) -> tuple[str, ...]:
    return tuple(rows[j].name for j in which.tolist())


def _alone(row: Row, reached: float) -> str:
    if row.at_least and row.limit == 0:
        return f"{row.name!r} cannot hold: it is missed by at least {-reached:,.6g} {row.counts}"
    if row.at_least:
        return f"{row.name!r} asks for {row.asked()}, of which at most {reached + 0.0:,.6g} can be had"
    return f"{row.name!r} allows {row.asked()}, but {reached:,.6g} are forced"


def _together(rows: tuple[Row, ...], which: NDArray[np.intp]) -> str:
    told = [f"{row.name!r} holds" + (f" ({row.asked()})" if row.limit else "") for row in (rows[j] for j in which)]
    return " and ".join([", ".join(told[:-1]), told[-1]] if len(told) > 1 else told)


def _kept(oracle: Oracle, which: NDArray[np.intp]) -> Oracle:
    """The same units under some of the constraints."""
    return Oracle(
        oracle.units, Lines.of([oracle.lines.rows[j] for j in which.tolist()], oracle.units.shape), oracle.threads
    )


def _proof(oracle: Oracle, which: NDArray[np.intp]) -> NDArray[np.intp] | None:
    """Those of the constraints which a proof needs that they cannot hold together; None where there is no proof."""
    if not which.size:
        return None
    kept = _kept(oracle, which)
    if oracle.units.n <= FEW:
        return which if refuted(kept) else None
    found = descend(kept, np.zeros(oracle.units.shape), CLEAR, floor=0.0, any_point=True)
    if not found.impossible:
        return None
    weight = found.start.prices * found.start.size
    needed: NDArray[np.intp] = which[weight > NAMED * weight.max()]
    return needed


def _reached(oracle: Oracle, proof: NDArray[np.intp]) -> str:
    """How far the last floor can be met while the others hold, in words; nothing where that says nothing."""
    rows = oracle.lines.rows
    floors = [j for j in proof.tolist() if rows[j].at_least]
    if len(proof) < 2 or not floors:
        return ""
    row = rows[floors[-1]]
    bound = descend(_kept(oracle, proof[proof != floors[-1]]), -row.table, CLOSE, floor=-np.inf).bound
    if bound >= -row.limit:
        return ", for want of units that could be divided"
    if row.limit == 0:
        return f". While the others hold, {row.name!r} is missed by at least {-bound:,.6g} {row.counts}"
    return f". While the others hold, {row.name!r} comes to at most {bound + 0.0:,.6g}"
