# SPDX-License-Identifier: Apache-2.0
"""What is known about images: the registry daemon, and the client that glance-api asks it with."""
