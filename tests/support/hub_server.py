"""A Hugging Face Hub for tests: the part of its HTTP API that downloads a repository, creates one and commits to it."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

REVISION = "0123456789abcdef0123456789abcdef01234567"


class HubServer:
    """Repositories in memory.

    Attributes:
        repositories: name -> path of a file -> its content.
        private: repositories that were created as private ones.
        requests: method and path of each request.
        endpoint: address of the server.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: set[str] = set()
        self.requests: list[str] = []
        self.endpoint = ""


@contextmanager
def hub_server() -> Iterator[HubServer]:
    """Serve on a free port of the loopback address."""
    hub = HubServer()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.hub.requests.append(f"{self.command} {self.path}")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/api/repos/create":
            given = json.loads(body)
            name = f"{given.get('organization') or 'me'}/{given['name']}"
            self.hub.repositories.setdefault(name, {})
            if given.get("private") or given.get("visibility") == "private":
                self.hub.private.add(name)
            return self._json({"url": f"{self.hub.endpoint}/{name}", "id": name, "name": name})
        if self.path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(revision|tree|preupload|commit)/([^/?]+).*", self.path):
            name, action, revision = match.groups()
            files = self._files(name, revision)
            return None if files is None else getattr(self, f"_{action}")(name, files, body)
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path):
            files = self._files(match[1], match[2])
            return None if files is None else self._file(files.get(match[3]))
        return self._missing("EntryNotFound")

    def _files(self, name: str, revision: str) -> dict[str, bytes] | None:
        """Files of a revision; None after the answer that it does not exist."""
        if name not in self.hub.repositories:
            self._missing("RepoNotFound")
        elif revision not in ("main", REVISION):
            self._missing("RevisionNotFound")
        else:
            return self.hub.repositories[name]
        return None

    def _revision(self, name: str, files: dict[str, bytes], _: bytes) -> None:
        siblings = [{"rfilename": path, "size": len(content)} for path, content in files.items()]
        self._json({"id": name, "modelId": name, "sha": REVISION, "siblings": siblings, "private": False, "tags": []})

    def _tree(self, _name: str, files: dict[str, bytes], _: bytes) -> None:
        entries = [
            {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
            for path, content in files.items()
        ]
        self._json(entries)

    def _preupload(self, _name: str, _files: dict[str, bytes], body: bytes) -> None:
        paths = [one["path"] for one in json.loads(body)["files"]]
        self._json({"files": [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in paths]})

    def _commit(self, name: str, files: dict[str, bytes], body: bytes) -> None:
        for line in body.splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
        self._json(
            {"success": True, "commitOid": REVISION, "commitUrl": f"{self.hub.endpoint}/{name}/commit/{REVISION}"}
        )

    def _file(self, content: bytes | None) -> None:
        if content is None:
            return self._missing("EntryNotFound")
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", REVISION)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)
        return None

    def _json(self, values: Any) -> None:
        content = json.dumps(values).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _missing(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()
