# SPDX-License-Identifier: Apache-2.0
"""A page whose name was rebound to the address of a daemon."""

import pytest
import requests

from tests.functional.daemons import Installation

pytestmark = pytest.mark.functional


def test_a_rebound_name_is_refused(running: Installation) -> None:
    for port in (running.api_port, running.registry_port):
        url = f"http://127.0.0.1:{port}/images"
        browser = {"User-Agent": "Mozilla/5.0", "Sec-Fetch-Site": "same-origin"}
        answer = requests.get(url, headers={"Host": f"evil.example:{port}", **browser}, timeout=10)
        assert (answer.status_code, "allowed_hosts" in answer.text) == (403, True)
        assert requests.get(url, headers=browser, timeout=10).status_code == 200
        assert requests.get(url, headers={"Host": "evil.example"}, timeout=10).status_code == 200
