import ctypes

import pytest

from pelee.diagnosis import machine
from pelee.training import precision as training_precision


@pytest.fixture
def cpu_info(tmp_path, monkeypatch):
    path = tmp_path / "cpuinfo"
    monkeypatch.setattr(training_precision, "CPU_INFO", path)
    return path


def test_instructions_and_what_they_mean_for_precision(cpu_info):
    cpu_info.write_text("model name\t: Fast 1\nflags\t\t: fpu sse4_2 avx2 avx512_vnni avx512_bf16\n")
    assert machine.cpu()[1]["model"] == "Fast 1"
    assert machine.instructions() == (
        "sse4_2 avx2 avx512_vnni avx512_bf16",
        {"flags": ["sse4_2", "avx2", "avx512_vnni", "avx512_bf16"]},
    )
    text, details = machine.precision()
    assert "int8 native (avx512_vnni)" in text and "bf16 native (avx512_bf16)" in text
    assert details == {"int8": True, "bf16": True}


def test_a_processor_without_native_int8_and_bf16(cpu_info):
    cpu_info.write_text("flags : avx2\n")
    text, details = machine.precision()
    assert "int8 emulated" in text and "fp32" in text and details == {"int8": False, "bf16": False}


def test_a_system_that_does_not_list_instructions(cpu_info):
    assert machine.instructions()[1] == {"flags": None}
    assert machine.precision()[1] == {"int8": None, "bf16": None}
    assert machine.cpu()[1]["model"]


def test_limits_of_a_container(tmp_path, monkeypatch):
    """The lowest limit of the process's group and of those around it counts."""
    own = tmp_path / "cgroup"
    own.write_text("0::/system.slice/pelee.service\n")
    group = tmp_path / "fs" / "system.slice" / "pelee.service"
    group.mkdir(parents=True)
    monkeypatch.setattr(machine, "OWN_CGROUP", own)
    monkeypatch.setattr(machine, "CGROUPS", tmp_path / "fs")
    assert machine.cgroup_memory() is None and machine.cgroup_cores() is None
    (group / "memory.max").write_text("max\n")
    (group / "cpu.max").write_text("max 100000\n")
    assert machine.cgroup_memory() is None and machine.cgroup_cores() is None
    (group.parent / "memory.max").write_text("536870912\n")
    (group.parent / "cpu.max").write_text("150000 100000\n")
    assert machine.cgroup_memory() == 512 * 2**20 and machine.cgroup_cores() == 1.5
    assert "0.54 GB" in machine.memory()[0] and machine.memory()[1]["limit"] == 512 * 2**20
    assert machine.cpu()[0].endswith("limited to the time of 1.5")


def test_memory_of_the_system(tmp_path, monkeypatch):
    path = tmp_path / "meminfo"
    path.write_text("MemTotal:       2000 kB\nMemFree: 1 kB\nMemAvailable:   1000 kB\n")
    monkeypatch.setattr(machine, "MEMORY_INFO", path)
    details = machine.memory()[1]
    assert (details["total"], details["free"]) == (2_048_000, 1_024_000)
    monkeypatch.setattr(machine, "MEMORY_INFO", tmp_path / "none")
    assert machine.memory()[1]["free"] is None


def test_shared_memory(monkeypatch):
    monkeypatch.setattr(machine, "free_shared_memory", lambda: 64_000_000)
    assert machine.shared_memory() == ("0.06 GB free in /dev/shm", {"free": 64_000_000})
    monkeypatch.setattr(machine, "free_shared_memory", lambda: None)
    assert machine.shared_memory()[1] == {"free": None}


class Driver:
    """The functions of CUDA's driver that are called."""

    def __init__(self, status: int = 0) -> None:
        self.status = status

    def cuInit(self, _flags):
        return self.status

    def cuDriverGetVersion(self, version):
        version._obj.value = 12080

    def cuDeviceGetCount(self, count):
        count._obj.value = 2

    def cuDeviceGet(self, device, number):
        device._obj.value = number

    def cuDeviceGetName(self, name, _length, device):
        name.value = b"GPU %d" % device.value


@pytest.mark.parametrize(
    ("driver", "said", "details"),
    [
        (Driver(), "GPU 0, GPU 1; the driver supports CUDA 12.8", {"nvidia": ["GPU 0", "GPU 1"], "cuda": "12.8"}),
        (Driver(100), "none: the NVIDIA driver returns error 100", {"nvidia": [], "cuda": None, "error": 100}),
    ],
)
def test_gpus_of_the_driver(monkeypatch, driver, said, details):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver)
    assert machine.gpus() == (said, details)


def test_a_machine_without_a_driver(monkeypatch):
    def absent(name):
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", absent)
    assert machine.gpus() == ("none: no NVIDIA driver", {"nvidia": [], "cuda": None})
