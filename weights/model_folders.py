"""Model folders by name: the models that come with the package, and those that the user has installed."""

import os
import sys
from pathlib import Path

from weights.card import CARD_NAME

SHIPPED_FOLDER = Path(__file__).parent
#: Environment variable with the folder of the installed models.
FOLDER_VARIABLE = "PELEE_MODEL_FOLDER"


def shipped() -> list[str]:
    """Return the names of the models that come with the package, sorted."""
    return _names(SHIPPED_FOLDER)


def installed() -> list[str]:
    """Return the names of the installed models, sorted; without those that a shipped model hides."""
    hidden = set(shipped())
    return [name for name in _names(installed_folder()) if name not in hidden]


def installed_folder() -> Path:
    """Return the folder of the installed models: $PELEE_MODEL_FOLDER, or in the user's data folder; may be absent."""
    given = os.environ.get(FOLDER_VARIABLE)
    if given:
        return Path(given).expanduser()
    if sys.platform == "win32":
        data = os.environ.get("LOCALAPPDATA")
        return (Path(data) if data else Path.home() / "AppData" / "Local") / "pelee" / "models"
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "pelee" / "models"


def folder_of(name: str) -> Path | None:
    """Return the folder of a shipped or an installed model, a shipped one first; None for another name."""
    if name in shipped():
        return SHIPPED_FOLDER / name
    return installed_folder() / name if name in installed() else None


def _names(folder: Path) -> list[str]:
    try:
        found = sorted(path.parent.name for path in folder.glob(f"*/{CARD_NAME}"))
    except OSError:  # a folder that may not be read has no models
        return []
    return [name for name in found if not name.startswith(".")]  # one that is being written
