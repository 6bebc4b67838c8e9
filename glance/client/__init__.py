# SPDX-License-Identifier: Apache-2.0
"""The Python clients: `Client` speaks the classic API of 2011, `V1Client` the Images API v1."""

from glance.client.body import CHUNK, measure
from glance.client.classic import Client
from glance.client.connection import Disconnected, NoServer, NotGlance
from glance.client.download import Download
from glance.client.v1 import V1Client

__all__ = ["CHUNK", "Client", "Disconnected", "Download", "NoServer", "NotGlance", "V1Client", "measure"]
