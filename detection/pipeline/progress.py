"""Progress protocol of a run."""

from typing import Protocol


class Progress(Protocol):
    """What is told while it runs, in the caller's thread."""

    def start(self, name: str, total: int | None) -> None:
        """Begin with `total` pictures or frames; None where their number is not known."""

    def advance(self) -> None:
        """One picture or frame further."""

    def problem(self, line: str) -> None:
        """Something could not be read."""

    def note(self, line: str) -> None:
        """Something worth knowing."""
