# SPDX-License-Identifier: Apache-2.0
"""The commands: what a user types, and what he sees."""
