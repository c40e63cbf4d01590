"""Constructor arguments as parameters, the way scikit-learn's clone and grid search expect them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from persuadable.errors import ParameterError

__all__ = ["Parameters"]


class Parameters:
    """A class whose constructor stores its arguments verbatim under their names.

    It has scikit-learn's ``get_params`` and ``set_params`` without needing scikit-learn; nested
    parameters are reached as ``trees__max_depth``.
    """

    #: What an argument left at None stands for, so that ``set_params(trees__max_depth=2)`` works on it too.
    parts: ClassVar[Mapping[str, type[Parameters]]] = {}

    @classmethod
    def parameter_names(cls) -> list[str]:
        """Names of the constructor's arguments, sorted."""
        signature = inspect.signature(cls.__init__).parameters
        return sorted(name for name in signature if name != "self")

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments; with ``deep`` also those of arguments that have parameters."""
        own = {name: getattr(self, name) for name in self.parameter_names()}
        if not deep:
            return own
        nested = {
            f"{name}__{key}": value
            for name, part in own.items()
            if isinstance(part, Parameters)
            for key, value in part.get_params().items()
        }
        return own | nested

    def set_params(self, **params: Any) -> Self:
        """Change parameters in place.

        Raises:
            ParameterError: no such parameter.
        """
        for key, value in params.items():
            name, _, inner = key.partition("__")
            if name not in self.parameter_names():
                raise ParameterError(
                    f"{type(self).__name__} has no parameter {name!r}", remedy=f"It has {self.parameter_names()}."
                )
            if not inner:
                setattr(self, name, value)
                continue
            part = getattr(self, name)
            if part is None and name in self.parts:
                part = self.parts[name]()
            if not isinstance(part, Parameters):
                raise ParameterError(f"{name}={part!r} has no parameter {inner!r}", remedy=f"Set {name} first.")
            # A copy: the part may be shared with other objects, or be a default argument.
            setattr(self, name, type(part)(**part.get_params(deep=False)).set_params(**{inner: value}))
        return self

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self).__init__).parameters
        changed = [
            f"{name}={value!r}"
            for name, value in self.get_params(deep=False).items()
            if repr(value) != repr(defaults[name].default)
        ]
        return f"{type(self).__name__}({', '.join(changed)})"

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import Tags, TargetTags  # only scikit-learn itself calls this

        return Tags(estimator_type=None, target_tags=TargetTags(required=False))
