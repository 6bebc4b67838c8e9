# SPDX-License-Identifier: Apache-2.0
"""The server: sockets, HTTP/1.1, native threads. The one room that knows eventlet; knows nothing of images."""
