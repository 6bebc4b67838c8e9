# SPDX-License-Identifier: Apache-2.0
"""Listening on all addresses of a host."""

import errno
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from glance.serve.listening import is_free, listen
from glance.serve.succession import Legacy
from tests.servers.processes import free_port

LACKING = "203.0.113.1"  # TEST-NET-3: no machine has it


@pytest.fixture
def addresses(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses of the host many.example, to be filled by the test."""
    found: list[str] = []
    real = socket.getaddrinfo

    def getaddrinfo(host: str, *rest: Any, **options: Any) -> list[Any]:
        hosts = found if host == "many.example" else [host]
        return [entry for each in hosts for entry in real(each, *rest, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return found


Listen = Callable[..., list[socket.socket]]


@pytest.fixture
def opened() -> Iterator[Listen]:
    """Listen, and close the sockets after the test."""
    with ExitStack() as stack:

        def opened(host: str, port: int, legacy: Legacy | None = None) -> list[socket.socket]:
            return [stack.enter_context(sock) for sock in listen(host, port, backlog=5, legacy=legacy)]

        yield opened


def hosts(sockets: list[socket.socket]) -> list[str]:
    return [sock.getsockname()[0] for sock in sockets]


def accepts(sock: socket.socket, host: str, port: int) -> bool:
    with socket.create_connection((host, port), 5):
        sock.settimeout(5)
        connection, _ = sock.accept()
        connection.close()
    return True


def has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6) as sock:
        return sock.connect_ex(("::1", 1)) != errno.EADDRNOTAVAIL


def test_every_address_is_listened_on(opened: Listen, addresses: list[str]) -> None:
    addresses += ["127.0.0.1", "127.0.0.2", "127.0.0.1"]
    port = free_port()
    sockets = opened("many.example", port)
    assert hosts(sockets) == ["127.0.0.1", "127.0.0.2"]
    assert all(accepts(sock, host, port) for sock, host in zip(sockets, hosts(sockets), strict=True))


@pytest.mark.parametrize("host", ["localhost", "LocalHost."])
def test_localhost_is_both_loopback_addresses(opened: Listen, host: str) -> None:
    port = free_port()
    sockets = opened(host, port)
    expected = ["127.0.0.1", "::1"] if has_ipv6() else ["127.0.0.1"]
    assert hosts(sockets) == expected
    assert all(accepts(sock, host, port) for sock, host in zip(sockets, expected, strict=True))


def test_both_wildcard_addresses_have_a_socket_each(opened: Listen, addresses: list[str]) -> None:
    addresses += ["::", "0.0.0.0"]
    port = free_port()
    sockets = opened("many.example", port)
    assert accepts(sockets[-1], "127.0.0.1", port)
    assert hosts(sockets) == (addresses if has_ipv6() else ["0.0.0.0"])


def test_an_address_that_the_machine_lacks_is_left_out(
    opened: Listen, addresses: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    addresses += [LACKING, "127.0.0.1"]
    with caplog.at_level(logging.WARNING):
        assert hosts(opened("many.example", free_port())) == ["127.0.0.1"]
    assert f"many.example is also {LACKING}, where this machine cannot listen" in caplog.text


def test_a_host_that_is_another_machine_is_an_error(opened: Listen, addresses: list[str]) -> None:
    addresses += [LACKING]
    with pytest.raises(OSError, match="Cannot assign requested address"):
        opened("many.example", free_port())


def test_one_address_that_is_taken_is_an_error(opened: Listen, addresses: list[str]) -> None:
    port = free_port()
    opened("127.0.0.2", port)
    addresses += ["127.0.0.1", "127.0.0.2"]
    with pytest.raises(OSError, match="Address already in use"):
        opened("many.example", port)
    assert is_free("127.0.0.1", port)  # what was opened before is closed again


def test_a_port_is_free_if_it_is_on_every_address(opened: Listen, addresses: list[str]) -> None:
    port = free_port()
    addresses += ["127.0.0.1", "127.0.0.2", LACKING]
    assert is_free("many.example", port)
    (sock,) = opened("127.0.0.2", port)
    assert not is_free("many.example", port)
    sock.close()
    assert is_free("many.example", port)


def test_sockets_of_a_predecessor_are_taken_over(opened: Listen, addresses: list[str]) -> None:
    port = free_port()
    addresses += ["127.0.0.1", "127.0.0.2"]
    descriptors = [sock.detach() for sock in opened("many.example", port)]
    left = socket.create_server(("127.0.0.1", 0))
    legacy = Legacy(-1, [*descriptors, left.detach()])
    addresses.append("127.0.0.3")  # it did not listen there
    sockets = opened("many.example", port, legacy)
    assert [sock.fileno() for sock in sockets[:2]] == descriptors
    assert hosts(sockets) == addresses
    assert len(legacy._sockets) == 1
    legacy._sockets.pop().close()
