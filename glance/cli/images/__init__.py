# SPDX-License-Identifier: Apache-2.0
"""`glance`, the command for people and scripts; it speaks the Images API v1."""
