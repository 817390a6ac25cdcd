"""The errors that a user can cause, each told in one line: what was found, what was expected, what to do."""


class PeleeError(Exception):
    """Base of every error that a command reports in one line instead of a traceback."""


class ImageError(PeleeError):
    """A picture that cannot be read."""


class DatasetError(PeleeError):
    """A data set whose layout or annotations cannot be used."""


class WeightsError(PeleeError):
    """A model file that is missing, damaged, or does not fit."""


class SettingsError(PeleeError):
    """A setting that is unknown or out of range."""
