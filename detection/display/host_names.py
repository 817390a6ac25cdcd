"""Host names that a web page cannot make point to this machine, as protection against DNS rebinding."""

import ipaddress
from urllib.parse import urlsplit


def is_local_name(host: str) -> bool:
    """Return whether a Host header is no domain: an IP address, `localhost`, or a name without a dot.

    A server on a loopback address answers under these only. A page of another site reaches it through a domain that it
    makes point to 127.0.0.1; the browser then sends this domain as the host. A name without a dot (a container's name)
    cannot be registered.

    Args:
        host: value of the header, with or without a port; an empty or malformed one is no local name.
    """
    name = host_name(f"//{host}")
    return bool(name) and ("." not in name or name.endswith(".localhost") or is_address(name))


def host_name(url: str) -> str:
    """Return the host name of a URL, in lower case; empty where there is none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def is_address(name: str) -> bool:
    """Return whether a name is an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
