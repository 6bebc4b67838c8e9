# SPDX-License-Identifier: Apache-2.0
"""Nothing that a server sends to `glance` and `glance-upload` reaches the terminal as a command to it."""

import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from tests.servers.scripted import Asked, Reply, scripted

PROGRAMS = Path(__file__).parents[2] / "bin"
HOSTILE = "a\x1b]0;x\x07\x9b31m\u202eb\u2066c\u2028d\re"
IMAGE = {
    "id": HOSTILE, "name": HOSTILE, "status": "queued", "size": 3, "disk_format": HOSTILE, "container_format": HOSTILE, "owner": HOSTILE,
    "is_public": True, "min_ram": HOSTILE, "properties": {HOSTILE: HOSTILE},
}  # fmt: skip


def answer(asked: Asked) -> Reply:
    if asked.method == "DELETE" or "refused" in asked.path:
        return Reply(409, f"409 Conflict\n\n{HOSTILE}".encode(), {"X-Glance-Reason": "conflict"})
    if "tokens" in asked.path:  # Keystone's
        return Reply(400, json.dumps({"error": {"message": HOSTILE, "code": 400}}).encode(), {"Content-Type": "application/json"})  # fmt: skip
    if "/members" in asked.path:
        body: object = {"members": [{"member_id": HOSTILE, "can_share": True}]}
    elif "/shared-images" in asked.path:
        body = {"shared_images": [{"image_id": HOSTILE, "can_share": True}]}
    elif asked.method == "GET":
        body = {"images": [] if "marker" in asked.path else [IMAGE]}
    else:
        body = {"image": IMAGE}
    text = HOSTILE.replace("\r", "").encode().decode("latin-1")
    headers = {"X-Image-Meta-Id": text, "X-Image-Meta-Name": text, "X-Image-Meta-Property-a": text, "X-Glance-Reason": text}  # fmt: skip
    return Reply(201 if asked.method == "POST" else 200, json.dumps(body).encode(), headers)


KEYSTONE = ("-S", "keystone", "-I", "u", "-K", "p", "-T", "t")


@pytest.mark.parametrize("words", [
    "glance details", "glance show 7a", "glance -v add name=x copy_from=http://h/", "glance add --queued name=x",
    "glance -v update 7a name=x", "glance clear -f", "glance clear --dry-run", "glance image-members 7a", "glance member-images t",
    "glance show refused", "glance --debug show refused", "glance --json show refused", "glance download 7a out",
    "glance index keystone", "glance --debug index keystone", "glance-upload /dev/null name",
])  # fmt: skip
def test_the_terminal_gets_no_commands(tmp_path: Path, words: str) -> None:
    program, *arguments = words.split()
    with scripted() as server:
        server.answer = answer
        if arguments[-1] == "keystone":
            arguments = [*arguments[:-1], *KEYSTONE, "-N", f"{server.url}/v3"]
        arguments += ["--port", str(server.server_port)] if program == "glance-upload" else ["--url", server.url]
        environ = {name: value for name, value in os.environ.items() if not name.startswith("OS_")}
        done = subprocess.run(
            [sys.executable, str(PROGRAMS / program), *arguments],
            cwd=tmp_path, env=environ, stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
        )  # fmt: skip
        assert server.asked
    text = (done.stdout + done.stderr).decode()
    assert "a" in text
    bad = {character for character in text.replace("\n", "") if unicodedata.category(character) in ("Cc", "Cf", "Zl")}
    assert not bad, text
