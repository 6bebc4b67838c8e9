# SPDX-License-Identifier: Apache-2.0
"""Loads the fixtures that several folders of tests share."""

pytest_plugins = ["tests.servers.fixtures"]
