# SPDX-License-Identifier: Apache-2.0
"""The server: sockets, HTTP/1.1, native threads. The one package that knows eventlet; knows nothing of images."""

import os

# eventlet reads this when it is imported. resolver.py takes the place of its own DNS client.
os.environ["EVENTLET_NO_GREENDNS"] = "yes"
