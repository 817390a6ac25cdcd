"""What a training frees it takes again, in the thread of the backward pass, too."""

import os
import platform
import subprocess
import sys

import pytest

# Page faults of the last five of ten steps, after the first have taken what a step needs.
STEPS = """
import resource, sys
from pelee.training.allocator import tune_allocator

if sys.argv[1] == "keep":
    tune_allocator()
import torch
from torch import nn

network = nn.Sequential(nn.Conv2d(3, 32, 1), nn.ReLU(), nn.Conv2d(32, 32, 1), nn.ReLU())
images = torch.rand(8, 3, 192, 192)
for step in range(10):
    if step == 5:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    network(images).mean().backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    # A training in this process has set the variable for its children.
    environment = {name: value for name, value in os.environ.items() if name != "THP_MEM_ALLOC_ENABLE"}
    done = subprocess.run(
        [sys.executable, "-c", STEPS, how], capture_output=True, text=True, check=True, env=environment
    )
    return int(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's alone")
def test_freed_memory_is_taken_again() -> None:
    """Most of it: a block that a later one does not fit into makes the heap grow now and then."""
    assert faults("keep") < faults("return") / 4
