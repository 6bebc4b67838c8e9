# SPDX-License-Identifier: Apache-2.0
"""The registry over SQL."""
