"""What the functions of the Python API have in common."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from adaptrt.errors import AdaptrtError
from adaptrt.pipeline.named_folder import named_folder

P = ParamSpec("P")
R = TypeVar("R")


def public_call(function: Callable[P, R]) -> Callable[P, R]:
    """Arguments of wrong types are a ``UsageError``, and errors name arguments rather than options of the command line."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        from adaptrt.specs.argument_types import require_types

        try:
            bound = inspect.signature(function).bind(*args, **kwargs)
        except TypeError:  # an unknown argument: the call raises Python's own error
            return function(*args, **kwargs)
        try:
            require_types(function, bound.arguments)
            for name, value in bound.arguments.items():
                if hasattr(value, "tolist"):  # of numpy
                    bound.arguments[name] = value.tolist()
            with named_folder(bound.arguments.get("output")):
                return function(*bound.args, **bound.kwargs)
        except AdaptrtError as error:
            from adaptrt.pipeline.python_words import say_in_python

            say_in_python(error, function)
            raise

    return call
