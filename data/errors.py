"""Exceptions for errors that a user can cause, and the nearest-name hints in their messages.

Each message is one line: what was found, what was expected, what to do.
"""

import difflib
from collections.abc import Iterable


class PeleeError(Exception):
    """Base of every error that a command reports in one line instead of a traceback."""


class ImageError(PeleeError):
    """An image that cannot be read."""


class DatasetError(PeleeError):
    """A dataset whose layout or annotations cannot be used."""


class WeightsError(PeleeError):
    """A model file that is missing, damaged, or does not fit."""


class SettingsError(PeleeError):
    """A setting that is unknown or out of range."""


class ProcessLostError(PeleeError):
    """Another process of a training that ended, hangs or cannot be reached: of a distributed one, or a worker."""


def nearest_name(name: str, names: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the one of `names` that is most similar to `name`, regardless of case.

    Args:
        name: the unknown name.
        names: the known ones.
        cutoff: least similarity, 0 to 1 (`difflib.SequenceMatcher.ratio`); None is returned where no name reaches it.
    """
    by_lower = {known.lower(): known for known in names}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=cutoff)
    return by_lower[near[0]] if near else None


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return "did you mean 'NAME'?" with the nearest of `names`; empty where none is similar."""
    near = nearest_name(name, names)
    return "" if near is None else f"did you mean {near!r}?"
