"""Resumable HTTP download of one archive, by range requests; called by `pelee-data download` only."""

import http.client
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data.download.disk import check_space, name_full_disk
from data.download.progress_callback import DownloadProgress
from data.download.sources import DownloadPart
from data.errors import DatasetError

CHUNK = 1 << 18  # bytes read at a time
WAITS = (1.0, 4.0, 15.0)  # seconds before each retry after an interrupted connection
TIMEOUT = 60.0  # seconds without a byte, after which a connection counts as interrupted


class _Interrupted(Exception):
    """The connection ended early; the received bytes are on disk, and a retry may succeed."""


@dataclass(frozen=True, slots=True)
class ResumableFetch:
    """Download of one archive to its `.part` file.

    Attributes:
        name: name of the part, for `progress`.
        url: address of the archive.
        part: the archive's descriptor.
        partial: file to append to.
        root: folder whose disk space is checked.
        progress: callback.
        timeout: seconds without a byte, after which a connection counts as interrupted.
    """

    name: str
    url: str
    part: DownloadPart
    partial: Path
    root: Path
    progress: DownloadProgress
    timeout: float

    @property
    def validator(self) -> Path:
        """File with the ETag or date of the archive that the partial file belongs to."""
        return self.partial.with_name(self.partial.name + ".etag")

    def run(self, waits: Sequence[float]) -> None:
        """Download until the file is complete; a connection that made progress resets the number of retries."""
        tries, furthest = 0, self._have()
        while True:
            try:
                self._once()
                return
            except _Interrupted as interrupted:
                tries = 1 if self._have() > furthest else tries + 1
                furthest = max(furthest, self._have())
                if tries > len(waits):
                    raise DatasetError(
                        f"{self.url}: {interrupted} after {self._have():,} bytes; "
                        "check the network and run the command again, it goes on from there"
                    ) from None
                time.sleep(waits[tries - 1])

    def _have(self) -> int:
        return self.partial.stat().st_size if self.partial.exists() else 0

    def _once(self) -> None:
        """Download over one connection."""
        have = self._have()
        request = urllib.request.Request(self.url, headers={"User-Agent": "pelee-data"})
        if have:
            request.add_header("Range", f"bytes={have}-")
            if self.validator.exists():  # the server sends the whole file if it has changed
                request.add_header("If-Range", self.validator.read_text(encoding="latin-1"))
        try:
            response = urllib.request.urlopen(request, timeout=self.timeout)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416 and have:
                if error.headers.get("Content-Range", "") != f"bytes */{have}":
                    self.partial.unlink()  # longer than the file: not a part of it
                    raise _Interrupted("the server has a shorter file") from None
                return
            if error.code == 429 or error.code >= 500:
                raise _Interrupted(f"the server answered {error.code} {error.reason}") from None
            raise DatasetError(
                f"{self.url}: the server answered {error.code} {error.reason}; "
                "look for the file's new address and give it with --base-url"
            ) from None
        except urllib.error.URLError as error:
            if have:  # it was reachable before
                raise _Interrupted(str(error.reason)) from None
            raise DatasetError(f"{self.url}: cannot be reached ({error.reason}); check the network") from None
        except (http.client.HTTPException, OSError) as error:
            raise _Interrupted(str(error) or type(error).__name__) from None
        with response:
            resumed = response.status == 206 and self._begins_at(response, have)
            if response.status == 206 and not resumed:
                self.partial.unlink(missing_ok=True)
                raise _Interrupted("the server sent another range than asked for")
            self._write(response, have if resumed else 0)

    @staticmethod
    def _begins_at(response: http.client.HTTPResponse, have: int) -> bool:
        return response.headers.get("Content-Range", "").startswith(f"bytes {have}-")

    def _write(self, response: http.client.HTTPResponse, have: int) -> None:
        """Append the response's body to the first `have` bytes of the partial file."""
        length = response.headers.get("Content-Length", "")
        total = have + int(length) if length.isdecimal() else None
        if total is not None:
            check_space(self.root, total - have + int(total * self.part.growth), self.part)
        with name_full_disk(self.partial), self.partial.open("ab" if have else "wb") as file:
            tag = response.headers.get("ETag", "")
            tag = response.headers.get("Last-Modified", "") if not tag or tag.startswith("W/") else tag
            if tag:
                self.validator.write_text(tag, encoding="latin-1")
            else:
                self.validator.unlink(missing_ok=True)
            done = have
            self.progress(self.name, "download", done, total)
            while done != total and (chunk := self._read(response)):
                file.write(chunk)
                done += len(chunk)
                self.progress(self.name, "download", done, total)
        if total is not None and done < total:
            raise _Interrupted("the connection was cut")

    @staticmethod
    def _read(response: http.client.HTTPResponse) -> bytes:
        try:
            return response.read(CHUNK)
        except (http.client.HTTPException, OSError) as error:
            raise _Interrupted(str(error) or "the connection was cut") from None
