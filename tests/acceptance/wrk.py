"""Load generator `wrk`, which leaves nearly all of the CPU to the server."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from data.errors import SettingsError

SCRIPT = """
local requests = {}
function init(files)
  for index, name in ipairs(files) do
    local file = assert(io.open(name, "rb"))
    requests[index] = wrk.format("POST", nil, nil, file:read("*a"))
    file:close()
  end
end
local turn = 0
function request()
  turn = turn % #requests + 1
  return requests[turn]
end
function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.timeout + errors.status
  io.write(string.format('{"answers": %d, "microseconds": %d, "failed": %d, "median": %d}\\n',
    summary.requests, summary.duration, failed, latency:percentile(50)))
end
"""


class Load(NamedTuple):
    """Result: responses a second, and the median latency in ms."""

    rate: float
    median: float


def wrk(port: int, pictures: Sequence[Path], connections: int, seconds: float) -> Load:
    """POST images in turn to /detect over so many connections, each as soon as it has its answer.

    Raises:
        SettingsError: there is no wrk, or an answer was none or an error.
    """
    program = shutil.which("wrk")
    if program is None:
        raise SettingsError("no wrk here, which makes the load; on Debian: apt-get install wrk")
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(SCRIPT)
        script.flush()
        command = [program, "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout=60s"]
        address = f"http://127.0.0.1:{port}/detect"
        command += ["-s", script.name, address, "--", *(str(path.resolve()) for path in pictures)]
        run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        raise SettingsError(f"wrk ended with {run.returncode}: {(run.stderr or run.stdout).strip()[-200:]}")
    told = json.loads(run.stdout.splitlines()[-1])
    if told["failed"]:
        raise SettingsError(f"{told['failed']} of {told['answers']} answers were errors; see the server's log")
    return Load(1e6 * told["answers"] / told["microseconds"], told["median"] / 1000)
