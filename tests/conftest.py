# SPDX-License-Identifier: Apache-2.0
"""Stands here so that pytest, however it is started, finds what tests import as `tests.fakes` and the like."""
