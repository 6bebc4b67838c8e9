# SPDX-License-Identifier: Apache-2.0
"""What the commands say when nginx, in front of glance-api, answers in its place."""

import json
from collections.abc import Iterator

import pytest

from tests.functional.daemons import Installation
from tests.functional.debian import program
from tests.servers.processes import Processes, free_port

pytestmark = pytest.mark.functional

CONFIG = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    {temporary}
    client_max_body_size 1m;
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://127.0.0.1:{api_port}; }}
    }}
    server {{
        listen 127.0.0.1:{dead_port};
        location / {{ proxy_pass http://127.0.0.1:1; }}
    }}
}}
"""
LARGE = b"x" * 3_000_000
TOO_LARGE = "413 Request Entity Too Large (from nginx, not Glance)"
BAD_GATEWAY = "502 Bad Gateway (from nginx, not Glance)"


@pytest.fixture(scope="module")
def ports(running: Installation) -> Iterator[tuple[int, int]]:
    """The ports of an nginx in front of glance-api, and of one in front of nothing."""
    nginx = program("nginx", "nginx-light")
    folder, port, dead_port = running.folder, free_port(), free_port()
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    (folder / "nginx.conf").write_text(
        CONFIG.format(
            folder=folder,
            temporary=" ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds),
            port=port,
            dead_port=dead_port,
            api_port=running.api_port,
        )
    )
    processes = Processes(folder)
    try:
        processes.start("nginx", nginx, "-p", folder, "-c", folder / "nginx.conf", "-e", "stderr")
        processes.await_port(port)
        yield port, dead_port
    finally:
        processes.stop()


def test_a_file_that_nginx_finds_too_large(running: Installation, ports: tuple[int, int]) -> None:
    """nginx decides on the announced size, so nothing of it reaches Glance."""
    (running.folder / "large.img").write_bytes(LARGE)
    done = running.glance("-p", str(ports[0]), "add", "name=announced", "is_public=True", "--file", "large.img")
    assert (done.returncode, done.stdout, done.stderr) == (
        1, "", f"Failed to add image. Got error: {TOO_LARGE}\n",
    )  # fmt: skip
    done = running.run("glance-upload", "--port", str(ports[0]), "large.img", "announced")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"ERROR: {TOO_LARGE}\n")
    with running.client() as client:
        assert [image for image in client.get_images_detailed() if image["name"] == "announced"] == []


def test_a_pipe_that_nginx_finds_too_large(running: Installation, ports: tuple[int, int]) -> None:
    """nginx may have passed a part of it on."""
    done = running.glance("-p", str(ports[0]), "add", "name=piped", stdin=LARGE)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"Failed to add image. Got error: {TOO_LARGE}. A record of the image may remain; its status is killed.\n"
    )


@pytest.mark.parametrize(
    "words", [["index"], ["show", "1"], ["delete", "-f", "1"], ["download", "1"], ["add", "name=x", "--queued"]]
)
def test_an_nginx_without_glance(running: Installation, ports: tuple[int, int], words: list[str]) -> None:
    done = running.glance("-p", str(ports[1]), "--json", *words)
    assert (done.returncode, done.stdout) == (1, "")
    error = json.loads(done.stderr)["error"]
    assert error["reason"] == "disconnected"
    assert error["message"].endswith(f"Got error: {BAD_GATEWAY}")


def test_what_glance_says_comes_through_nginx(running: Installation, ports: tuple[int, int]) -> None:
    done = running.glance("-p", str(ports[0]), "show", "nowhere")
    assert (done.returncode, done.stderr) == (1, "No image with ID nowhere was found\n")
    done = running.glance("-p", str(ports[0]), "add", "name=x", "disk_format=zz", stdin=b"x")
    assert done.returncode == 1
    assert done.stderr.startswith("Failed to add image. Got error: Invalid disk format 'zz'")
    assert done.stderr.endswith(" A record of the image may remain; its status is killed.\n")
