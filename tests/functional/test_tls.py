# SPDX-License-Identifier: Apache-2.0
"""HTTPS, by the daemons themselves: with certificates of an authority that the tests make."""

import hashlib
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
import trustme

from tests.functional.daemons import Installation
from tests.functional.live import PATIENCE, Live, Wire, post, request, wait_until

pytestmark = pytest.mark.functional

DATA = os.urandom(3_000_000)


class Authority:
    """Issues certificates into files of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ca = trustme.CA()
        self.file = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(self.file)

    def issue(self, name: str, host: str = "127.0.0.1") -> Path:
        """A certificate and its key in one file, which is replaced in one go if it is there."""
        issued = self._ca.issue_cert(host)
        made = self._folder / f"{name}.new"
        made.write_bytes(issued.private_key_and_cert_chain_pem.bytes())
        return made.replace(self._folder / f"{name}.pem")

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.file)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Live]]:
    started: list[Live] = []

    def start(*options: str) -> Live:
        started.append(Live(tmp_path, *options))
        return started[-1]

    yield start
    for live in started:
        live.end()


def connect(live: Live, context: ssl.SSLContext) -> Wire:
    sock = socket.create_connection(("127.0.0.1", live.port), timeout=PATIENCE)
    return Wire(context.wrap_socket(sock, server_hostname="127.0.0.1"))


def serial(live: Live, context: ssl.SSLContext) -> str:
    with connect(live, context) as wire:
        return wire.sock.getpeercert()["serialNumber"]


@pytest.mark.parametrize("workers", ["0", "2"])
def test_requests_and_answers_of_every_kind(start, authority, tmp_path, workers):
    live = start("--tls", str(authority.issue("server")), "--workers", workers)
    (tmp_path / "file").write_bytes(DATA)
    with connect(live, authority.context()) as wire:
        wire.send(post(b"Content-Length: 3000000") + DATA)
        told = wire.answer()
        assert hashlib.sha256(DATA).hexdigest().encode() in told.body
        assert b'"wsgi.url_scheme": "https"' in told.body
        wire.send(request(target=f"/file?{tmp_path}/file,1000,2999000".encode()))
        assert wire.answer().body == DATA[1000:]
        wire.send(request(target=b"/stream?3000"))
        assert wire.answer().body == b"x" * 3_000_000
        wire.send(post(b"Content-Length: 5", b"Expect: 100-continue", target=b"/patient"))
        assert wire.answer().status == 100
        wire.send(b"hello" + request())
        assert [wire.answer().body[:4], wire.answer().status] == [b"done", 200]


def test_a_download_reads_the_disk_in_native_threads(start, authority, tmp_path):
    """procfs never says that a read needs no disk. The only native thread is busy, so the download has to wait for it,
    and no other request has to."""
    live = start("--tls", str(authority.issue("server")), "--set", "serve.green.NATIVE_THREADS=1")
    context = authority.context()
    fifo, expected = tmp_path / "fifo", Path("/proc/version").read_bytes()
    os.mkfifo(fifo)
    with connect(live, context) as blocked, connect(live, context) as download, connect(live, context) as other:
        blocked.send(request(target=f"/block?{fifo}".encode()))
        writer = open_read_fifo(fifo)
        download.send(request(target=f"/file?/proc/version,0,{len(expected)}".encode()))
        time.sleep(0.3)
        other.send(request())
        assert other.answer().status == 200
        assert "/file" not in live.log()  # the access log names requests that are over
        os.write(writer, b"go on")
        os.close(writer)
        assert download.answer().body == expected
        assert blocked.answer().body == b"go on"


def open_read_fifo(fifo: Path) -> int:
    """Open the FIFO for writing once another process reads it, and return the descriptor."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # no reader yet
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_who_speaks_no_tls_is_told_so(start, authority):
    live = start("--tls", str(authority.issue("server")))
    answer = live.ask(request())
    assert (answer.status, answer.headers["connection"]) == (400, "close")
    assert b"HTTPS" in answer.body


def test_old_protocols_are_not_spoken(start, authority):
    live = start("--tls", str(authority.issue("server")))
    context = authority.context()
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        connect(live, context)


def test_handshakes_that_break_off_or_never_begin_harm_nobody(start, authority):
    live = start("--tls", str(authority.issue("server")), "--set", "serve.connection.HEAD_TIMEOUT=0.3")
    with live.connect() as silent, live.connect() as half, live.connect() as gone:
        half.send(b"\x16\x03\x01")
        gone.send(b"\x16\x03\x01\x02")
        gone.sock.close()
        with connect(live, authority.context()) as wire:
            assert wire.sock.version() == "TLSv1.3"
        assert silent.is_closed()
        assert half.is_closed()
    assert "Traceback" not in live.log()


def test_only_clients_with_a_certificate_where_that_is_wished(start, authority):
    live = start("--tls", f"{authority.issue('server')},{authority.file}")
    with pytest.raises((ssl.SSLError, ConnectionError, EOFError)), connect(live, authority.context()) as wire:
        wire.send(request())
        wire.answer()
    context = authority.context()
    context.load_cert_chain(authority.issue("client", "client.example.org"))
    with connect(live, context) as wire:
        wire.send(request())
        assert wire.answer().status == 200


def test_a_renewed_certificate_is_used_and_a_broken_one_is_not(start, authority):
    live = start("--tls", str(authority.issue("server")))
    context = authority.context()
    first = serial(live, context)
    with connect(live, context) as kept:
        file = authority.issue("server")
        second = serial(live, context)
        assert second != first
        file.write_text("no certificate")
        assert serial(live, context) == second
        file.unlink()
        assert serial(live, context) == second
        authority.issue("server")
        assert serial(live, context) not in (first, second)
        kept.send(request())
        assert kept.answer().status == 200
    wait_until(lambda: "the new TLS certificate is not used" in live.log(), "it is told")


def test_both_daemons_over_https(installation: Installation, authority: Authority):
    cert = authority.issue("server")
    installation.configure(
        common=f"cert_file = {cert}",
        api=f"registry_client_protocol = https\nregistry_client_ca_file = {authority.file}",
    )
    started = installation.control("all", "start")
    assert started.returncode == 0, started.stdout + started.stderr
    url = f"https://127.0.0.1:{installation.api_port}"
    assert url in installation.control("all", "status").stdout
    headers = {"x-image-meta-name": "tls", "x-image-meta-type": "raw", "Content-Type": "application/octet-stream"}
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(authority.file)
        assert session.post(f"{url}/images", data=DATA, headers=headers, timeout=PATIENCE).status_code == 200
        assert session.get(f"{url}/images/1", timeout=PATIENCE).content == DATA
        part = session.get(f"{url}/images/1", headers={"Range": "bytes=1000000-"}, timeout=PATIENCE)
        assert (part.status_code, part.content) == (206, DATA[1_000_000:])
    curl = subprocess.run(
        ["curl", "-sf", "--cacert", str(authority.file), f"{url}/images/1"],
        capture_output=True,
        timeout=PATIENCE,
        check=True,
    )
    assert curl.stdout == DATA


def test_a_registry_that_is_not_trusted_is_down(installation: Installation, authority: Authority, tmp_path: Path):
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other")
    installation.configure(
        api=f"registry_client_protocol = https\nregistry_client_ca_file = {other.file}",
        registry=f"cert_file = {authority.issue('server')}",
    )
    installation.start()
    response = requests.get(f"http://127.0.0.1:{installation.api_port}/", timeout=PATIENCE)
    assert response.status_code == 503
    assert "certificate verify failed" in installation.logs()


@pytest.mark.parametrize(("options", "told"), [
    ("cert_file = /nonsense", "No such file"), ("key_file = /x", "cert_file"), ("ca_file = /x", "cert_file"),
    ("cert_file = {ca}", "cannot be used"),
])  # fmt: skip
def test_files_that_cannot_be_used_are_told_at_start(installation, authority, options, told):
    installation.configure(api=options.format(ca=authority.file))
    started = installation.control("api", "start")
    assert started.returncode == 1
    assert told in started.stdout + started.stderr
