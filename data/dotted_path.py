"""Objects by dotted path, "module:name": how the registries name code that is imported when it is used."""

from importlib import import_module
from typing import Any


def load_object(path: str) -> Any:
    """Import the module of "module:name" and return its attribute `name`."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)
