"""Page of a watch at `/`: cameras and events. It shares style and API client with the live page."""

from pathlib import Path

from fastapi import FastAPI

from serve.web.page import STATIC as SHARED
from serve.web.page import add_page

STATIC = Path(__file__).parents[1] / "static"
WATCH_PAGE = (
    *sorted(STATIC.iterdir()),
    *(SHARED / name for name in ("api.js", "icon.svg", "key_form.js", "notice.js", "style.css")),
)


def add_watch_page(app: FastAPI) -> None:
    """Serve the page at `/`."""
    add_page(app, WATCH_PAGE)
