"""Host names that a web page cannot make point to this machine."""

import pytest

from detection.display.host_names import host_name, is_address, is_local_name


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:9000", "LOCALHOST", "a.localhost", "127.0.0.1:8080", "[::1]:8080", "192.168.0.9", "pelee"],
)
def test_addresses_and_names_without_a_dot_are_local(host: str) -> None:
    assert is_local_name(host)


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example:8080", "127.0.0.1.nip.io", "", "[", ":80"])
def test_domains_and_malformed_hosts_are_not_local(host: str) -> None:
    assert not is_local_name(host)


def test_the_host_name_of_a_url() -> None:
    assert host_name("https://Pelee.example:8443/a") == "pelee.example"
    assert host_name("null") == host_name("http://[") == ""
    assert is_address("::1") and not is_address("localhost")
