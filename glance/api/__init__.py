# SPDX-License-Identifier: Apache-2.0
"""The dialects on port 9292: each only translates between its wire and the image service."""
