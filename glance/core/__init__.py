# SPDX-License-Identifier: Apache-2.0
"""Images and what can be done with them; knows no HTTP, SQL, server or cloud. Start in ports.py."""
