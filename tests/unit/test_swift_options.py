# SPDX-License-Identifier: Apache-2.0
"""The options of the Swift store as a user sets them: what contradicts itself is said at the start."""

from typing import Any

import pytest

from glance.config import ApiConfig, ConfigError
from glance.server import build

GOOD = {
    "swift_store_auth_address": "http://127.0.0.1:9/v3",
    "swift_store_auth_version": "3",
    "swift_store_user": "service:glance",
    "swift_store_key": "secret-key",
}


def built(**changed: Any) -> object:
    return build(ApiConfig(**(GOOD | changed)))


@pytest.mark.parametrize("whose", ["user", "project"])
@pytest.mark.parametrize("by", ["id", "name"])
def test_a_domain_by_id_or_by_name(whose, by):
    assert built(**{f"swift_store_{whose}_domain_{by}": "x"})


@pytest.mark.parametrize("whose", ["user", "project"])
def test_a_domain_by_id_and_by_name(whose):
    options = [f"swift_store_{whose}_domain_{by}" for by in ("id", "name")]
    with pytest.raises(ConfigError, match=" and ".join(options)) as caught:
        built(**dict.fromkeys(options, "x"))
    assert "secret-key" not in str(caught.value)


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("option", [f"swift_store_{whose}_domain_{by}" for whose in ("user", "project") for by in ("id", "name")])  # fmt: skip
def test_domains_are_of_version_3(version, option):
    with pytest.raises(ConfigError, match=f"{option} needs swift_store_auth_version = 3"):
        built(swift_store_auth_version=version, **{option: "x"})
