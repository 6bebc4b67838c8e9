# SPDX-License-Identifier: Apache-2.0
"""nginx of Debian's package, with a configuration that a test gives it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.functional.debian import program
from tests.servers.processes import Processes

AROUND = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
access_log off;
{temporary}{site}}}
"""
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@contextmanager
def nginx(folder: Path, port: int, site: str) -> Iterator[str]:
    """Run nginx with the directives of an `http` block that listen on a port of the loopback address; yield its URL.

    Skips the test where nginx cannot be installed."""
    command = program("nginx", "nginx-light")
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in TEMPORARY)
    (folder / "nginx.conf").write_text(AROUND.format(folder=folder, temporary=temporary, site=site))
    processes = Processes(folder)
    try:
        processes.start("nginx", command, "-p", folder, "-c", folder / "nginx.conf", "-e", "stderr")
        processes.await_port(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        processes.stop()
