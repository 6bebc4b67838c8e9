# SPDX-License-Identifier: Apache-2.0
"""Glance: register, discover, upload, stream and share virtual-machine images."""
