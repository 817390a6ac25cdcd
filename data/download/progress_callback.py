"""Protocol of a download's progress."""

from typing import Protocol


class DownloadProgress(Protocol):
    """Callback for progress; `step` is "download", "check" or "unpack", `total` None where it is unknown."""

    def __call__(self, part: str, step: str, done: int, total: int | None) -> None:
        """Report that `done` of `total` bytes of this step are complete."""
