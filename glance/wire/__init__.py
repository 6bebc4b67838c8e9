# SPDX-License-Identifier: Apache-2.0
"""Formats that two rooms need, each written and read in the same file; no I/O."""
