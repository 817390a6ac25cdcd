"""Run of the parts of a batch on Ray Data: a pool of actors, on this machine or on a cluster."""

import logging
import os
import shutil
import socket
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from data.errors import PeleeError, SettingsError
from detection.batch.batch_job import BatchJob
from detection.batch.work_plan import PlannedPart

#: Least size of an object store that Ray accepts; only reports of parts go through it.
STORE_BYTES = 80 * 2**20
#: Longest path of a temporary folder below which Ray's sockets have valid names.
LONGEST_FOLDER = 40
CONNECTION_TIMEOUT = 10.0  # seconds
START_ATTEMPTS = 3
#: Ray takes a token by itself for the address "auto" only, and its error does not name the token.
TOKEN_HINT = (
    "; where the cluster asks for a token, set RAY_AUTH_MODE=token and have the cluster's ~/.ray/auth_token here"
)
# No report to Ray's authors, no metrics exporter, no idle workers, no messages of its C++ parts on stderr.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
}


class BatchError(PeleeError):
    """A batch that ended before all of its parts were done."""


@dataclass(frozen=True, kw_only=True)
class PoolOptions:
    """Pool of workers.

    Attributes:
        workers: number of actors.
        gpu_share: GPUs of each, which may be a fraction.
        address: address of a Ray cluster, or "auto"; None for Ray on this machine alone.
        store_bytes: size of this machine's object store.
    """

    workers: int
    gpu_share: float = 0.0
    address: str | None = None
    store_bytes: int = STORE_BYTES


@contextmanager
def ray_session(pool: PoolOptions, cores: int) -> Iterator[None]:
    """Start Ray, or join a cluster, and leave it at the end of the block.

    Raises:
        BatchError: Ray does not start, or there is no cluster at the address.
        SettingsError: the cluster has fewer CPUs or GPUs than the workers want.
    """
    # By default Ray's workers give way to all other programs: on a busy machine they would starve.
    os.environ.update({**ENVIRONMENT, "RAY_worker_niceness": str(os.nice(0))})
    warnings.filterwarnings("ignore", module=r"ray(\.|$)")
    if pool.address is not None:
        _check_address(pool.address)
    import ray

    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    folder = None
    if pool.address is None:
        folder = _temporary_folder()
        options |= {
            "address": "local",
            "num_cpus": pool.workers * cores,
            "object_store_memory": pool.store_bytes,
            "include_dashboard": False,
            "_temp_dir": folder,
        }
    else:
        options["address"] = pool.address
    try:
        _start(options, pool.address)
        _check_resources(ray.cluster_resources(), pool, cores)
        yield
    finally:
        with suppress(KeyboardInterrupt):  # a second ctrl-C ends the wait, not the clean-up
            ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def run_parts(job: BatchJob, parts: Sequence[PlannedPart], pool: PoolOptions) -> Iterator[dict[str, Any]]:
    """Yield the report of each part, in the order in which they end; see `PartDetector.__call__`.

    A worker that dies is replaced, and does its parts again. Call it within `ray_session`.

    Raises:
        BatchError: Ray gave up.
    """
    import ray
    from ray.data import ActorPoolStrategy, DataContext
    from ray.exceptions import RayError

    from detection.batch.part_detector import PartDetector

    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    items = [{"plan": part.plan, "group": part.group, "images": part.images} for part in parts]
    reports = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        PartDetector,
        fn_constructor_args=(job,),
        batch_size=1,
        compute=ActorPoolStrategy(size=pool.workers, max_tasks_in_flight_per_actor=2),
        num_cpus=job.cores,
        num_gpus=pool.gpu_share or None,
    )
    try:
        yield from reports.iter_rows()
    except RayError as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise BatchError(f"Ray gave up: {reason}; run the command again: it goes on where it was") from error


def _start(options: dict[str, Any], address: str | None) -> None:
    """Start or join Ray. On a busy machine its processes may miss Ray's deadline of 30 seconds: then once more."""
    import ray

    for attempt in range(1, START_ATTEMPTS + 1):
        try:
            with _muted_stderr():
                ray.init(**options)
            return
        except Exception as error:  # Ray raises it plainly for that deadline
            ray.shutdown()
            if address is None and attempt < START_ATTEMPTS:
                continue
            where = "Ray does not start" if address is None else f"no Ray cluster at {address}"
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise BatchError(f"{where}: {reason}{'' if address is None else TOKEN_HINT}") from None


@contextmanager
def _muted_stderr() -> Iterator[None]:
    """Send stderr to nowhere in the block: Ray reports its log level there, from C++."""
    try:
        saved = os.dup(2)
    except OSError:  # stderr is closed
        yield
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def _check_address(address: str) -> None:
    """Raise `BatchError` where nothing listens at HOST:PORT: Ray would try for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECTION_TIMEOUT).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BatchError(f"no Ray cluster at {address}: {reason}; start one with: ray start --head") from None


def _check_resources(found: dict[str, float], pool: PoolOptions, cores: int) -> None:
    """Compare what the workers need with what Ray has: it would wait for it without an end."""
    for name, needed in (("CPU", pool.workers * cores), ("GPU", pool.workers * pool.gpu_share)):
        if needed > found.get(name, 0.0) + 1e-6:
            raise SettingsError(
                f"{pool.workers} workers need {needed:g} {name}s, and there are {found.get(name, 0.0):g}; "
                f"take fewer --workers, or less of each (--cores, --gpu-share)"
            )


def _temporary_folder() -> str:
    """Make a folder for Ray's sockets and logs, whose path is short enough for a socket."""
    folder = tempfile.mkdtemp(prefix="pelee-ray-")
    if len(folder) <= LONGEST_FOLDER:
        return folder
    shutil.rmtree(folder)
    return tempfile.mkdtemp(prefix="pelee-ray-", dir="/tmp")
