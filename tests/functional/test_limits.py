# SPDX-License-Identifier: Apache-2.0
"""Limits of requests, as docs/operation.md has them, on real daemons."""

import pytest
import requests

from tests.functional.daemons import Installation
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
