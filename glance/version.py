# SPDX-License-Identifier: Apache-2.0
"""The version, in the one place where setup.py, the daemons and the tools read it."""

VERSION = "2026.11.0"
