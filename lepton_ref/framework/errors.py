"""The errors that users of the package meet, each naming what was wrong and what is accepted."""

from __future__ import annotations


class ArgumentError(ValueError):
    """An argument outside the domain of an operator, a layer or a function.

    Parameters
    ----------
    where : str
        The operator, layer path or function that refused.
    argument : str
        Name of the argument.
    got : str
        What came, in words: ``"shape (2, 3)"``, ``"dtype int64"``, ``"the value -1"``.
    expected : str
        What is accepted.
    """

    def __init__(self, where: str, argument: str, got: str, expected: str) -> None:
        self.where, self.argument, self.got, self.expected = where, argument, got, expected
        super().__init__(f"{where}: argument `{argument}` has {got}; expected {expected}")

    def within(self, path: str) -> ArgumentError:
        """The same error, told from inside the layer ``path``."""
        return ArgumentError(f"{path} > {self.where}", self.argument, self.got, self.expected)

    def __reduce__(self):
        return type(self), (self.where, self.argument, self.got, self.expected)


class EngineError(RuntimeError):
    """An engine that is unknown, not installed, or has no such device."""


class DataError(ValueError):
    """Data that are damaged, missing, not finite or out of range."""


class ModelFileError(ValueError):
    """A model file that is truncated, foreign, altered or of another class."""


class NonFiniteError(FloatingPointError):
    """A NaN or an infinity appeared; the message names the layer and the step."""
