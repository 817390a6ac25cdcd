"""Processes of a distributed run: devices of one machine, nodes (machines), `torchrun`. Imports no torch.

Lightning starts the processes of a node, `torchrun` those of its own; both tell each process its place by environment
variables (https://pytorch.org/docs/stable/elastic/run.html).
"""

import os
from dataclasses import dataclass

from data.errors import SettingsError

DEFAULT_PORT = 29_400  # torchrun's
RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK")


@dataclass(frozen=True)
class Processes:
    """Number of processes that train together.

    Attributes:
        devices: processes of this node.
        nodes: nodes, all with the same number of processes.
    """

    devices: int = 1
    nodes: int = 1

    @property
    def count(self) -> int:
        """Processes of all nodes."""
        return self.devices * self.nodes


SINGLE_PROCESS = Processes()


def find_processes(devices: int, nodes: int, node_rank: int | None, master: str | None) -> Processes:
    """Return the processes of a run, and set the variables by which Lightning's processes of several nodes meet.

    Args:
        devices: processes of each node; under `torchrun` it gives their number.
        nodes: number of nodes.
        node_rank: number of this node, from 0; needed with several nodes.
        master: host name or address of node 0, with `:PORT` for another one than `DEFAULT_PORT`.

    Raises:
        SettingsError: options that contradict each other, or processes that `torchrun` spread unevenly.
    """
    if under_torchrun():
        if nodes > 1 or node_rank is not None or master is not None:
            raise SettingsError("torchrun sets --nodes, --node-rank and --master; leave them out")
        world, local = int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_WORLD_SIZE"])
        if world % local:
            raise SettingsError(f"torchrun started {local} of {world} processes here; expected the same on every node")
        return Processes(local, world // local)
    if nodes < 1:
        raise SettingsError(f"--nodes is {nodes}; expected 1 or more")
    if nodes == 1:
        if node_rank is not None or master is not None:
            raise SettingsError("--node-rank and --master are for several nodes; give --nodes, too")
        return Processes(devices)
    if node_rank is None or master is None:
        raise SettingsError(f"--nodes {nodes} needs --node-rank, from 0 to {nodes - 1}, and --master, node 0's address")
    if not 0 <= node_rank < nodes:
        raise SettingsError(f"--node-rank is {node_rank}; expected 0 to {nodes - 1}")
    host, port = _address(master)
    os.environ.update(MASTER_ADDR=host, MASTER_PORT=str(port), NODE_RANK=str(node_rank))
    return Processes(devices, nodes)


def under_torchrun() -> bool:
    """Return whether `torchrun` started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def restarts_fail() -> bool:
    """Return whether `torchrun` would restart the processes with the addresses of the former ones in its store."""
    return (
        under_torchrun()
        and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        and os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0"
    )


def is_first_process() -> bool:
    """Return whether this process writes the run's files: the first one of node 0."""
    return all(os.environ.get(name, "0") == "0" for name in RANKS)


def _address(master: str) -> tuple[str, int]:
    """Return host and port of `HOST`, `HOST:PORT` or `[IPV6]:PORT`."""
    host, colon, port = master.rpartition(":")
    if not colon or (":" in host and not host.startswith("[")):
        host, port = master, str(DEFAULT_PORT)
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise SettingsError(f"--master is {master!r}; expected HOST or HOST:PORT")
    return host, int(port)
