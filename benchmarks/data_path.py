# SPDX-License-Identifier: Apache-2.0
"""Figures of the data path: start, one transfer up and down beside nginx and md5, and eight uploads at once.

Run it with the Python that Glance is installed for: `.venv/bin/python benchmarks/data_path.py`. Needs curl; nginx
(Debian: nginx-light) is optional. Takes about a minute and some 8 GiB below --directory, which are removed.
"""

import argparse
import hashlib
import http.client
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

MIB = 1024 * 1024
CONTROL = Path(sys.executable).with_name("glance-control")
OCTETS = "Content-Type: application/octet-stream"

GLANCE_CONF = """\
[DEFAULT]
verbose = True
[app:glance-api]
paste.app_factory = glance.server:app_factory
filesystem_store_datadir = {here}/images
bind_host = 127.0.0.1
bind_port = {api}
registry_host = 127.0.0.1
registry_port = {registry}
[app:glance-registry]
paste.app_factory = glance.registry.server:app_factory
bind_host = 127.0.0.1
bind_port = {registry}
sql_connection = sqlite:///{here}/glance.sqlite
"""

NGINX_CONF = """\
daemon off; pid {here}/nginx.pid; error_log {here}/nginx.log; worker_processes 2;
events {{ }}
http {{
  access_log off; sendfile on; client_max_body_size 0; client_body_temp_path {here}/nginx-tmp;
  server {{ listen 127.0.0.1:{port}; root {here}/nginx-root; dav_methods PUT; }}
}}
"""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def curl(*arguments: str) -> str:
    return subprocess.run(["curl", "-sS", "--fail", *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


def upload(api: int, file: Path) -> str:
    return curl(
        "-X", "POST", "-T", str(file), "-H", OCTETS, "-H", "x-image-meta-type: raw", f"http://127.0.0.1:{api}/images"
    )


def resident(pid: int) -> int:
    """Resident memory in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def md5_alone(file: Path) -> None:
    digest = hashlib.md5(usedforsecurity=False)
    with file.open("rb") as opened:
        while block := opened.read(MIB):
            digest.update(block)


def nginx(here: Path) -> tuple[subprocess.Popen[bytes], int] | None:
    binary = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if binary is None:
        return None
    (here / "nginx-root").mkdir()
    port = free_port()
    (here / "nginx.conf").write_text(NGINX_CONF.format(here=here, port=port))
    here.chmod(0o755)
    (here / "nginx-root").chmod(0o777)
    process = subprocess.Popen([binary, "-c", str(here / "nginx.conf"), "-e", str(here / "nginx.log")])
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return process, port
        except ConnectionRefusedError:
            time.sleep(0.05)


def single_transfers(here: Path, api: int, rounds: int) -> None:
    file = here / "1GiB"
    with file.open("wb") as opened:
        for _ in range(1024):
            opened.write(os.urandom(MIB))
    peer = nginx(here)
    times: dict[str, list[float]] = {}
    for number in range(1, rounds + 1):
        measured = {
            "glance up": seconds(lambda: upload(api, file)),
            "glance down": seconds(
                lambda n=number: curl("-o", "/dev/null", f"http://127.0.0.1:{api}/images/{n + 8}")
            ),
            "md5 alone": seconds(lambda: md5_alone(file)),
        }
        if peer is not None:
            url = f"http://127.0.0.1:{peer[1]}/file{number}"
            measured["nginx up"] = seconds(lambda u=url: curl("-T", str(file), u))
            measured["nginx down"] = seconds(lambda u=url: curl("-o", "/dev/null", u))
        for name, value in measured.items():
            times.setdefault(name, []).append(value)
    if peer is not None:
        peer[0].terminate()
        peer[0].wait()
    for name, values in sorted(times.items()):
        print(
            f"{name:12} 1 GiB: {statistics.median(values):.2f} s (of {rounds}, {min(values):.2f}–{max(values):.2f})"
        )


def parallel_uploads(here: Path, api: int, pid: int, count: int, size: int) -> None:
    file = here / "parallel"
    with file.open("wb") as opened:
        for _ in range(size // MIB):
            opened.write(os.urandom(MIB))
    idle = resident(pid)
    peak, latencies = idle, []
    uploads = [threading.Thread(target=upload, args=(api, file)) for _ in range(count)]
    started = time.perf_counter()
    for thread in uploads:
        thread.start()
    connection = http.client.HTTPConnection("127.0.0.1", api)
    while any(thread.is_alive() for thread in uploads):
        began = time.perf_counter()
        connection.request("GET", "/")
        connection.getresponse().read()
        latencies.append(time.perf_counter() - began)
        peak = max(peak, resident(pid))
        time.sleep(0.005)
    took = time.perf_counter() - started
    connection.close()
    latencies.sort()
    print(
        f"{count} uploads of {size // MIB} MiB at once: {took:.1f} s; glance-api {idle / MIB:.0f} MiB idle, "
        f"{peak / MIB:.0f} MiB at most, {(peak - idle) / MIB:+.0f} MiB"
    )
    print(
        f"GET / meanwhile ({len(latencies)} requests): median {latencies[len(latencies) // 2] * 1000:.1f} ms, "
        f"p99 {latencies[int(len(latencies) * 0.99)] * 1000:.1f} ms, at most {latencies[-1] * 1000:.1f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", help="where to work; default: the system's temporary directory")
    parser.add_argument("--rounds", type=int, default=5, help="transfers of each kind (default 5)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.directory, prefix="glance-bench-") as name:
        here = Path(name)
        api, registry = free_port(), free_port()
        conf = here / "glance.conf"
        conf.write_text(GLANCE_CONF.format(here=here, api=api, registry=registry))
        control = [str(CONTROL), "--pid-dir", name, "--log-dir", name]
        starts = []
        for _ in range(arguments.rounds):
            starts.append(seconds(lambda: subprocess.run([*control, "all", "start", str(conf)], check=True)))
            subprocess.run([*control, "all", "stop", str(conf)], check=True)
        print(f"glance-control all start: {statistics.median(starts):.2f} s until both answer")
        subprocess.run([*control, "all", "start", str(conf)], check=True)
        try:
            pid = int((here / "glance-api.pid").read_text())
            parallel_uploads(here, api, pid, 8, 512 * MIB)
            for number in range(1, 9):
                curl("-X", "DELETE", f"http://127.0.0.1:{api}/images/{number}")
            single_transfers(here, api, arguments.rounds)
        finally:
            subprocess.run([*control, "all", "stop", str(conf)], check=True)


if __name__ == "__main__":
    main()
