"""Ports of servers that a test starts as processes."""

import socket


def free_port() -> int:
    """Return a free TCP port of the loopback address; another process may take it before it is used."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
