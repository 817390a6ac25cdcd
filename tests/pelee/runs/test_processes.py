"""Processes of a distributed run: options, torchrun's variables, and who writes the run's files."""

import os

import pytest

from data.errors import SettingsError
from pelee.runs.processes import Processes, find_processes, is_first_process, restarts_fail


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that nobody started as one of several; what a test sets is taken back."""
    monkeypatch.setattr(os, "environ", os.environ.copy())
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RUN_ID"):
        os.environ.pop(name, None)


def test_one_node() -> None:
    assert find_processes(3, 1, None, None) == Processes(3, 1)
    assert "MASTER_ADDR" not in os.environ and is_first_process()


@pytest.mark.parametrize(
    ("master", "host", "port"),
    [
        ("trainer-0", "trainer-0", "29400"),
        ("10.0.0.7:1234", "10.0.0.7", "1234"),
        ("[fe80::1]:99", "fe80::1", "99"),
        ("fe80::1", "fe80::1", "29400"),
    ],
)
def test_several_nodes_set_the_variables_of_their_meeting(master: str, host: str, port: str) -> None:
    processes = find_processes(2, 3, 1, master)
    assert processes == Processes(2, 3) and processes.count == 6
    assert [os.environ[name] for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK")] == [host, port, "1"]
    assert not is_first_process()


@pytest.mark.parametrize(
    ("nodes", "node_rank", "master", "message"),
    [
        (0, None, None, "--nodes is 0; expected 1 or more"),
        (1, 0, None, "give --nodes, too"),
        (2, None, "a", "needs --node-rank, from 0 to 1, and --master"),
        (2, 0, None, "needs --node-rank, from 0 to 1, and --master"),
        (2, 2, "a", "--node-rank is 2; expected 0 to 1"),
        (2, 0, "a:port", "--master is 'a:port'; expected HOST or HOST:PORT"),
        (2, 0, ":12", "--master is ':12'"),
        (2, 0, "a:70000", "--master is 'a:70000'"),
    ],
)
def test_options_that_contradict_are_refused(
    nodes: int, node_rank: int | None, master: str | None, message: str
) -> None:
    with pytest.raises(SettingsError) as error:
        find_processes(1, nodes, node_rank, master)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_torchrun_gives_the_number_of_processes() -> None:
    os.environ.update(TORCHELASTIC_RUN_ID="x", WORLD_SIZE="6", LOCAL_WORLD_SIZE="2", RANK="3", LOCAL_RANK="1")
    assert find_processes(1, 1, None, None) == Processes(2, 3)
    assert not is_first_process()
    with pytest.raises(SettingsError, match="leave them out"):
        find_processes(1, 2, 0, "a")
    assert not restarts_fail()
    os.environ.update(TORCHELASTIC_USE_AGENT_STORE="True", TORCHELASTIC_MAX_RESTARTS="3")
    assert restarts_fail()
    os.environ["WORLD_SIZE"] = "5"
    with pytest.raises(SettingsError, match="torchrun started 2 of 5 processes here"):
        find_processes(1, 1, None, None)
