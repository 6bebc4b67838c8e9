# SPDX-License-Identifier: Apache-2.0
"""TLS for the connections of a daemon. Its certificate may be renewed while the daemon runs."""

import logging
import os
import socket
from pathlib import Path

from eventlet.green import ssl

LOG = logging.getLogger("glance.serve")

Version = tuple[tuple[int, int], ...]  # (inode, time of the last change) of each file


class Tls:
    """`cert` holds the certificate and those that lead to its issuer, `key` its private key (the certificate's
    file if None), `ca` those whose clients are served and no others (None: anybody's). All are PEM files.

    Raises OSError, of which ssl.SSLError is one, for files that cannot be used.
    """

    def __init__(self, cert: Path, key: Path | None = None, ca: Path | None = None) -> None:
        self._cert, self._key, self._ca = cert, key, ca
        self._loaded = self._version()
        self._context = self._load()

    def wrap(self, sock: socket.socket) -> socket.socket:
        """The connection inside TLS; its handshake is still to be done."""
        self._renew()
        wrapped: socket.socket = self._context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        return wrapped

    def _renew(self) -> None:
        """Load the files anew when they have changed; what cannot be loaded leaves the old ones in use."""
        try:
            version = self._version()
            if version == self._loaded:
                return
            self._loaded = version
            self._context = self._load()
        except OSError as error:
            LOG.error("the new TLS certificate is not used: %s", error)
        else:
            LOG.info("a new TLS certificate is in use")

    def _version(self) -> Version:
        found = (os.stat(path) for path in (self._cert, self._key, self._ca) if path is not None)  # noqa: PTH116
        return tuple((status.st_ino, status.st_mtime_ns) for status in found)

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self._cert, self._key)
        if self._ca is not None:
            context.load_verify_locations(self._ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context
