# SPDX-License-Identifier: Apache-2.0
"""The nginx of docs/identity.md in front of real daemons: it says who asks, and clients cannot."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.functional.daemons import Installation
from tests.functional.test_identity import IMAGE, configure
from tests.servers.nginx import nginx
from tests.servers.processes import free_port

pytestmark = pytest.mark.functional

DOCS = Path(__file__).parents[2] / "docs/identity.md"
ALICE, ROOT, NOBODY = ("alice", "secret-a"), ("root", "secret-r"), ("nobody", "secret-n")


@pytest.fixture
def url(installation: Installation) -> Iterator[str]:
    """Where nginx answers."""
    configure(installation, "proxy.conf")
    installation.start()
    port, folder = free_port(), installation.folder
    users = folder / "glance.users"
    users.write_text("".join(f"{name}:{{PLAIN}}{password}\n" for name, password in (ALICE, ROOT, NOBODY)))
    site = re.search(r"^    # http \{\n((?:    .*\n|\n(?=    ))*)", DOCS.read_text("utf-8"), re.MULTILINE)[1]
    for old, new in (
        ("listen 9293", f"listen 127.0.0.1:{port}"), ("127.0.0.1:9292", f"127.0.0.1:{installation.api_port}"), ("/etc/nginx/glance.users", str(users)),
    ):  # fmt: skip
        assert old in site
        site = site.replace(old, new)
    with nginx(folder, port, site) as address:
        yield address


def test_the_users_of_nginx(url: str, installation: Installation) -> None:
    data = os.urandom(3_000_000)
    made = requests.post(f"{url}/v1/images", data, headers=IMAGE, auth=ALICE, timeout=20)
    assert (made.status_code, made.json()["image"]["owner"]) == (201, "build")
    path = f"/v1/images/{made.json()['image']['id']}"
    assert made.headers["Location"] == f"{url}{path}"
    public = {"x-image-meta-is_public": "True"}  # which nginx drops by default
    assert requests.put(url + path, headers=public, auth=ALICE, timeout=20).status_code == 403
    assert requests.put(url + path, headers=public, auth=ROOT, timeout=20).json()["image"]["is_public"] is True
    assert requests.get(url + path, auth=ALICE, timeout=20).content == data
    assert requests.get(url + path, timeout=20).status_code == 401
    assert requests.get(url + path, auth=("alice", "wrong"), timeout=20).status_code == 401
    refused = requests.get(url + path, auth=NOBODY, timeout=20)
    assert (refused.status_code, "the caller has no project" in refused.text) == (401, True)
    done = installation.glance("--url", url, "index", OS_USERNAME=ALICE[0], OS_PASSWORD=ALICE[1])
    assert (done.returncode, made.json()["image"]["id"] in done.stdout) == (0, True)


@pytest.mark.parametrize("lie", [
    {"X-Roles": "admin"}, {"X_Roles": "admin"}, {"X-Tenant-Id": "ops", "X-Project-Id": "ops"}, {"X-User-Id": "root"}, {"X-Glance-Admin": "True"},
], ids=str)  # fmt: skip
def test_who_lies_to_nginx(url: str, lie: dict[str, str]) -> None:
    made = requests.post(f"{url}/v1/images", b"of root", headers=IMAGE, auth=ROOT, timeout=20).json()["image"]
    path = f"{url}/v1/images/{made['id']}"
    assert requests.get(path, headers=lie, auth=ALICE, timeout=20).status_code == 404
    assert requests.get(path, headers=lie, auth=NOBODY, timeout=20).status_code == 401
    assert requests.get(path, headers=lie, timeout=20).status_code == 401
