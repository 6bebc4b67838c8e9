# SPDX-License-Identifier: Apache-2.0
"""The real python-glanceclient, in an environment of its own, with the methods that it has there."""

import json
import os
import pty
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.servers.environments import environment

VERSION = "4.13.0"
PROGRAM = Path(__file__).parent / "glance_v1_calls.py"
TIMEOUT = 60  # seconds of one command
WAIT = 5  # seconds for an end


class Refused(Exception):
    """What the client raised; `kind` is the name of its exception."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind


class GlanceV1:
    """`client.call("images.create", name="x", data=Path("x"))`: resources come back as dicts, a Path goes as an open
    file, data as its length and digest. To be closed."""

    def __init__(self, port: int) -> None:
        """Install it. Skips the test where that cannot be done."""
        self._folder = environment(f"python-glanceclient-{VERSION}", f"python-glanceclient=={VERSION}")
        self._endpoint = f"http://127.0.0.1:{port}"
        self._process = subprocess.Popen(
            [self._folder / "bin/python", "-W", "ignore", PROGRAM, self._endpoint],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(WAIT)
        self._process.stdout.close()

    def call(self, what: str, /, *args: Any, token: str | None = None, **kwargs: Any) -> Any:
        """Raises Refused."""
        asked = {
            "token": token,
            "call": what,
            "args": [_sent(value) for value in args],
            "kwargs": {name: _sent(value) for name, value in kwargs.items()},
        }
        print(json.dumps(asked), file=self._process.stdin, flush=True)
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise Refused(answer["error"], answer["text"])
        return answer["result"]

    def as_user(self, token: str) -> Callable[..., Any]:
        return partial(self.call, token=token)

    def command(self, *arguments: str | Path) -> str:
        """What its command `glance` prints on a terminal; it must succeed."""
        words = [self._folder / "bin/glance", "--os-image-url", self._endpoint, "--os-auth-token", "a.a.admin"]
        words += ["--os-image-api-version", "1", *arguments]
        master, slave = pty.openpty()
        with subprocess.Popen(
            words, stdin=slave, stdout=slave, stderr=slave, env=os.environ | {"PYTHONWARNINGS": "ignore"}
        ) as process:
            os.close(slave)
            printed = _read_all(master)
            assert process.wait(TIMEOUT) == 0, printed
        return printed.replace("\r\n", "\n")


def _sent(value: Any) -> Any:
    return {"file": str(value)} if isinstance(value, Path) else value


def _read_all(terminal: int) -> str:
    printed = b""
    with open(terminal, "rb", buffering=0) as opened:
        while True:
            try:
                block = opened.read(65_536)
            except OSError:  # how Linux says that the other side is closed
                return printed.decode()
            if not block:
                return printed.decode()
            printed += block
