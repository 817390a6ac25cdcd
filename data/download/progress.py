"""Protocol of a download's progress."""

from typing import Protocol


class DownloadProgress(Protocol):
    """Told how far a part is: `step` is "download", "check" or "unpack", `total` None where it is not known."""

    def __call__(self, part: str, step: str, done: int, total: int | None) -> None:
        """Take in that `done` of `total` bytes of this step are through."""
