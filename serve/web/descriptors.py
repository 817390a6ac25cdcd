"""Limit of open file descriptors: raised to its hard bound, and the number of connections bounded by it."""

import contextlib
import sys
from pathlib import Path

from data.errors import SettingsError

ACCEPTED_AT_ONCE = 32  # connections accepted in one turn of the event loop
#: Descriptors that connections leave free: those accepted and rejected within a few turns, the connections over the
#: limit that still get a response, and the files, pipes and libraries of models.
RESERVED = 256
FEWEST_CONNECTIONS = 8


def raise_descriptor_limit() -> None:
    """Raise the process's limit of open files to its hard bound; without effect on Windows, which has none."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS reports an infinite bound, and accepts 10240.
    for limit in dict.fromkeys((hard, 10240)):
        if soft not in (hard, resource.RLIM_INFINITY) and (limit == hard or soft < limit):
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
                return


def connection_limit(wanted: int) -> int:
    """Return how many of the `wanted` connections the process may hold beside its own files.

    Raises:
        SettingsError: fewer than `FEWEST_CONNECTIONS`, where more are wanted.
    """
    limit = _descriptor_limit()
    if limit is None:
        return wanted
    possible = limit - _open_descriptors() - min(RESERVED, limit // 3)
    if possible < min(wanted, FEWEST_CONNECTIONS):
        raise SettingsError(
            f"the process may open {limit} files, too few for connections; raise it with: ulimit -n 4096"
        )
    return min(wanted, possible)


def _descriptor_limit() -> int | None:
    """Soft limit of open files; None where there is none."""
    if sys.platform == "win32":
        return None
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def _open_descriptors() -> int:
    try:
        return sum(1 for _ in Path("/dev/fd").iterdir())
    except OSError:  # a system without this folder
        return 32
