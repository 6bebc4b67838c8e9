# SPDX-License-Identifier: Apache-2.0
"""The steps of the schema, oldest first; migrate.HEAD names the newest."""
