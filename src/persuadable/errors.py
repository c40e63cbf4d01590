"""What can go wrong, as one tree.

::

    PersuadableError
    ├── DataError (ValueError)            a row, column or value that cannot be used
    │   ├── ActionError                   actions, control label, eligibility
    │   ├── OutcomeError                  outcomes and costs
    │   ├── PropensityError               probabilities of the actions
    │   ├── FeatureError                  features a model cannot read
    │   └── ContractError                 features that differ from those learned from
    ├── ParameterError (ValueError)       an argument outside what is allowed
    │   └── UnknownName (KeyError)        a name that a collection of results does not have
    ├── Infeasible (ValueError)           constraints that cannot be kept together
    ├── NotFittedError (ValueError, AttributeError)
    ├── LeakageError                      rows used for learning offered again for judging
    ├── BundleError                       an artefact that is damaged, incomplete or too new
    ├── DatasetUnavailable                data that is neither here nor to be had
    ├── StoreError                        the decision store refuses, or cannot be reached (service.store.errors)
    └── MissingDependency (ImportError)   an optional library that is not installed

Every message has three parts: what is wrong, where, and the remedy.
"""

from __future__ import annotations


class PersuadableError(Exception):
    """Base of every error the package raises on purpose."""

    def __init__(self, what: str, *, where: str | None = None, remedy: str | None = None) -> None:
        self.what, self.where, self.remedy = what, where, remedy
        place = f" ({where})" if where else ""
        cure = f" {remedy}" if remedy else ""
        super().__init__(f"{what}{place}.{cure}")


class DataError(PersuadableError, ValueError):
    """A row, column or value that cannot be used."""


class ActionError(DataError):
    """Actions, the control label or eligibility are not usable."""


class OutcomeError(DataError):
    """An outcome, cost or weight is not usable."""


class PropensityError(DataError):
    """Probabilities of the actions are not usable."""


class FeatureError(DataError):
    """A feature has a type or value no model can read."""


class ContractError(DataError):
    """Features differ from those the contract was learned from."""


class ParameterError(PersuadableError, ValueError):
    """An argument lies outside what is allowed."""


class UnknownName(ParameterError, KeyError):
    """A collection of results was asked for a name that it does not have."""

    __str__ = Exception.__str__  # a KeyError shows its message in quotes


class Infeasible(PersuadableError, ValueError):
    """Constraints cannot be kept together; the message names those that make it so.

    Attributes:
        constraints: their names, where it is known; the others can be kept.
    """

    def __init__(
        self, what: str, *, where: str | None = None, remedy: str | None = None, constraints: tuple[str, ...] = ()
    ) -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.constraints = constraints


class NotFittedError(PersuadableError, ValueError, AttributeError):
    """Something was asked of an object that has not been fitted or calibrated."""


class LeakageError(PersuadableError):
    """Rows that fitted a model or policy were offered to judge it."""


class BundleError(PersuadableError):
    """A saved bundle is damaged, incomplete or written by a newer version."""


class DatasetUnavailable(PersuadableError):
    """A data set is neither in a folder, nor in the cache, nor to be downloaded."""


class StoreError(PersuadableError):
    """The decision store refuses what was asked of it, or cannot be reached."""


class MissingDependency(PersuadableError, ImportError):
    """An optional library is needed and not installed."""
