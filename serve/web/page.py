"""Page at `/`: static files, with a content-security policy that allows this server only."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fastapi import FastAPI, HTTPException, Request, Response

from data.files.content_types import CONTENT_TYPES
from detection.drawing import COLORS

STATIC = Path(__file__).parent / "static"
LIVE_PAGE = tuple(path for path in sorted(STATIC.iterdir()) if path.suffix in CONTENT_TYPES)
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "worker-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "media-src 'self' blob:",
        "connect-src 'self'",  # includes ws: and wss: to the same host and port
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # Cached but revalidated: a new version of the package is used at once, an unchanged file costs a 304.
    "Cache-Control": "no-cache",
}


class Asset(NamedTuple):
    """One file of the page, kept in memory (60 KB in all)."""

    content: bytes
    content_type: str
    etag: str


def add_page(app: FastAPI, files: Sequence[Path] = LIVE_PAGE) -> None:
    """Serve a page at `/` and its files below `/static/`; they are not in the OpenAPI description.

    The files are read once, when the application is built, and no request is mapped to a path.

    Args:
        app: the application.
        files: of the page; one is `index.html`.
    """
    assets = load_assets(files)

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def page(request: Request) -> Response:
        return _answer(request, assets["index.html"])

    @app.api_route("/static/{name}", methods=["GET", "HEAD"], include_in_schema=False)
    async def static(request: Request, name: str) -> Response:
        if name not in assets:
            raise HTTPException(404, "no such file")
        return _answer(request, assets[name])


def load_assets(files: Sequence[Path] = LIVE_PAGE) -> dict[str, Asset]:
    """Files of a page by name, and a generated `colors.js` with the class colors of `detection.drawing`."""
    contents = {path.name: path.read_bytes() for path in files}
    contents["colors.js"] = f"export default {json.dumps(COLORS)};\n".encode()
    return {
        name: Asset(content, CONTENT_TYPES[Path(name).suffix], f'"{hashlib.sha256(content).hexdigest()[:32]}"')
        for name, content in contents.items()
    }


def _answer(request: Request, asset: Asset) -> Response:
    headers = HEADERS | {"ETag": asset.etag}
    cached = {tag.strip().removeprefix("W/") for tag in request.headers.get("If-None-Match", "").split(",")}
    if asset.etag in cached or "*" in cached:
        return Response(status_code=304, headers=headers)
    return Response(asset.content, headers=headers, media_type=asset.content_type)
