# SPDX-License-Identifier: Apache-2.0
"""Limits of requests, as docs/operation.md has them, on real daemons."""

import socket

import pytest
import requests

from tests.functional.daemons import Installation, answer_of, slow_upload
from tests.functional.test_trouble import OCTETS, stored, url, wait_for

pytestmark = pytest.mark.functional

BURST = 5


def test_rate_limit_is_of_clients_and_not_of_the_two_daemons(installation: Installation) -> None:
    """Also where it stands for both: each upload is several requests of glance-api to glance-registry."""
    installation.configure(common=f"rate_limit = 1\nrate_burst = {BURST}\n")
    installation.start()
    done = 0

    def upload() -> requests.Response:
        return requests.post(url(installation), b"data", headers=OCTETS, timeout=30)

    while (answer := upload()).status_code == 200:
        done += 1
        assert done < 100
    assert done >= BURST
    assert (answer.status_code, int(answer.headers["Retry-After"])) == (429, 1)
    assert "too many requests from your address" in answer.text
    wait_for(lambda: requests.get(url(installation), timeout=30).status_code == 200)
    assert len(stored(installation)) == done


SILENT = "the client sent nothing for 1 seconds (client_timeout)"


def test_a_client_that_falls_silent_is_told_so_by_both_daemons(installation: Installation) -> None:
    installation.configure(common="client_timeout = 1\nkeepalive_timeout = 1\n")
    installation.start()
    with slow_upload(installation) as sock:
        head, _, text = answer_of(sock).decode().partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 408 ")
    assert "\r\nConnection: close" in head
    assert SILENT in text
    assert SILENT in requests.get(f"{url(installation)}/1", timeout=30).text
    assert f"failed: the body broke off: {SILENT}" in installation.logs()
    assert stored(installation) == set()
    record = b'POST /images HTTP/1.1\r\nHost: here\r\nContent-Length: 100\r\n\r\n{"image": {'
    with socket.create_connection(("127.0.0.1", installation.registry_port), timeout=30) as sock:
        sock.sendall(record)
        answer = answer_of(sock).decode()
    assert (answer.startswith("HTTP/1.1 408 "), SILENT in answer) == (True, True)


def test_connections_are_kept_as_long_as_it_is_configured(installation: Installation) -> None:
    installation.configure(common="keepalive_timeout = 1\n")
    installation.start()
    for port in (installation.api_port, installation.registry_port):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
            assert sock.recv(1) == b""
