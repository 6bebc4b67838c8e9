# SPDX-License-Identifier: Apache-2.0
"""Real servers for tests, each installed and started by the tests themselves; see fixtures.py."""
