# SPDX-License-Identifier: Apache-2.0
"""The commands in these pages of docs/ are run, page by page, and print what stands there."""

import re
import shlex
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.functional.daemons import Installation

pytestmark = [
    pytest.mark.functional,
    pytest.mark.skipif(shutil.which("curl") is None, reason="the commands of the pages are curl's"),
]

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [*sorted(DOCS.glob("api-*.md")), DOCS / "cli.md", DOCS / "registry.md"]
FOLDER = "/home/ferdy"  # where the pages have been written
MARK = "--- the next command ---"
VARYING = {  # what differs from run to run → as it stands in the pages
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}": "TIME",
    r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT": "DATE",
    r"req-[0-9a-f-]{36}": "REQUEST",
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}": "UUID",
    r"file:///[^\s\"']*/images/": "file:///…/images/",
    r"(?<=pid )\d+|(?<=pid: )\d+": "PID",
    r"(?<=at step )\d{4}$|^\d{4}$": "STEP",
    r"[ \t]+$": "",
}


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def files_served(folder: Path) -> Iterator[int]:
    """The port of a web server of the folder's files."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def commands_of(page: str) -> list[tuple[str, str]]:
    """The commands of a page, and what each prints: indented lines after `$`."""
    found: list[tuple[str, str]] = []
    for block in re.findall(r"^    \$ (?:.*\n(?:    .*\n|\n(?=    ))*)", page, re.MULTILINE):
        text = re.sub(r"^    ", "", block, flags=re.MULTILINE)
        for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command, printed = re.fullmatch(r"((?:.*\\\n)*.*\n)((?:.*\n)*)", part).groups()
            found.append((command.rstrip("\n"), printed.rstrip("\n")))
    return found


def plain(text: str) -> str:
    """Without what differs from run to run."""
    for pattern, word in VARYING.items():
        text = re.sub(pattern, word, text, flags=re.MULTILINE)
    return text.replace("\r", "").strip()


def printed_by(commands: list[str], installation: Installation, web_port: int) -> list[str]:
    """What each of the commands prints, run by one shell in the folder of the installation."""
    port = installation.api_port
    programs = {
        "glance": ["--url", f"http://localhost:{port}"],
        "glance-upload": ["--port", str(port)],
        "glance-control": installation.own_folders,
        "glance-manage": [],
    }
    functions = [
        f'{name}() {{ {shlex.join(installation.command(name, *words))} "$@"; }}' for name, words in programs.items()
    ]
    script = f"\necho; echo '{MARK}'\n".join(["alias curl='curl -sS'\n" + "\n".join(functions), *commands])
    script = script.replace("localhost:9292", f"localhost:{port}")
    script = script.replace("localhost:9191", f"localhost:{installation.registry_port}")
    script = script.replace("localhost:8000", f"localhost:{web_port}")
    done = subprocess.run(
        ["bash", "-O", "expand_aliases", "-c", script],
        cwd=installation.folder,
        env=installation.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
        check=False,
    )
    text = re.sub(rf"(?<=:){port}\b", "9292", done.stdout.decode())
    text = re.sub(rf"(?<=:){installation.registry_port}\b", "9191", text)
    return text.replace(str(installation.folder), FOLDER).split(f"{MARK}\n")[1:]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_a_page_print_what_stands_there(installation: Installation, page: Path) -> None:
    installation.configure(api="http_store_allowed_hosts = localhost")
    installation.start()
    commands = commands_of(page.read_text("utf-8"))
    assert commands
    with files_served(installation.folder) as web_port:
        printed = printed_by([command for command, _ in commands], installation, web_port)
    for (command, expected), found in zip(commands, printed, strict=True):
        assert f"$ {command}\n{plain(found)}" == f"$ {command}\n{plain(expected)}"
