"""pelee-serve with a fake network whose batches take SECONDS: `python slow_server_process.py SECONDS FLAGS`."""

import sys

from data.command_line import run
from serve.commands.serve import parse_flags
from serve.settings import load_settings
from serve.web.server import serve
from tests.support.fake_server import FakeNetwork

if __name__ == "__main__":
    network = FakeNetwork(seconds=float(sys.argv[1]))
    flags = parse_flags(sys.argv[2:])
    sys.exit(run(lambda: serve(load_settings(**flags), {"fake": network.source(batch_size=1)})))
