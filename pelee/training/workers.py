"""Worker processes that read images: as many as the processor cores and the shared memory allow."""

import dataclasses
import multiprocessing.queues
import os
import shutil
import sys
from pathlib import Path
from typing import TypeVar

from data.cpu_cores import usable_cores
from pelee.training.optimization import OptimizationSettings

S = TypeVar("S", bound=OptimizationSettings)

SHARED_MEMORY = Path("/dev/shm")  # Linux's; other systems have no such limit
BATCHES = 3  # that a worker holds there: two read ahead, one in use
SPARE = 0.2  # fraction of the free shared memory that is left to others
MOST = 8  # workers that are taken by default


def resolve_workers(settings: S, batch_bytes: int, *, on_gpu: bool, devices: int = 1) -> tuple[S, str]:
    """Replace the number of workers by one that the machine can run.

    A worker hands its batches over in shared memory. Where that is full a training would wait forever.

    Args:
        settings: settings of the run; `workers` null takes none on a CPU, where they would take the cores of the
            training, and as many as there are cores, at most 8, on a GPU.
        batch_bytes: bytes of one process's batches of training and of validation images, together.
        on_gpu: the training runs on a GPU.
        devices: processes that train together.

    Returns:
        The settings, and the reason in a few words if the number is another than that of the settings; else "".
    """
    cores = max(1, usable_cores() // devices)
    if settings.workers is None:
        wanted, reason = (min(cores, MOST), f"{cores} cores") if on_gpu else (0, "")
    else:
        wanted, reason = settings.workers, ""
    if wanted > cores:
        wanted, reason = cores, f"this machine has {cores} cores for each training process"
    free = free_shared_memory()
    if free is not None:
        fitting = int(free * (1 - SPARE) / devices) // max(1, BATCHES * batch_bytes)
        if wanted > fitting:
            wanted = fitting
            reason = (
                f"{SHARED_MEMORY} has {free / 1e6:.0f} MB free, and a worker needs {BATCHES * batch_bytes / 1e6:.0f} MB"
                "; give a container more with docker run --shm-size"
            )
    return dataclasses.replace(settings, workers=wanted), reason


def free_shared_memory() -> int | None:
    """Return the free bytes of shared memory; None where it has no limit of its own."""
    try:
        return shutil.disk_usage(SHARED_MEMORY).free
    except OSError:
        return None


def start_worker(number: int) -> None:
    """Prepare a loader's worker process (`worker_init_fn`): one thread, and an end where it cannot hand over a batch.

    Where the shared memory fills up during the run, multiprocessing would print the error and leave the batch out, for
    which the training would wait forever. A worker that ends is an error of the loader, see `describe_lost_worker`.
    """
    import cv2
    import torch

    cv2.setNumThreads(1)  # there is a worker for each core
    torch.set_num_threads(1)
    multiprocessing.queues.Queue._on_queue_feeder_error = staticmethod(_end_worker)  # type: ignore[attr-defined]


def _end_worker(error: Exception, batch: object) -> None:
    print(f"a worker cannot hand over a batch: {error}", file=sys.stderr, flush=True)
    os._exit(1)


def describe_lost_worker(error: RuntimeError) -> str | None:
    """Return the message for a worker process that ended during the run; None for any other error."""
    text = str(error)
    if "DataLoader worker" not in text:
        return None
    free = free_shared_memory()
    room = "" if free is None else f", of which {SHARED_MEMORY} has {free / 1e6:.0f} MB free"
    return (
        f"a worker process that reads images ended ({text.partition('. ')[0]}): it needs memory and shared memory{room}"
        "; take fewer --workers"
    )
