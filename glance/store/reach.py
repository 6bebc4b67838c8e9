# SPDX-License-Identifier: Apache-2.0
"""Why a store's server could not be reached: what lies at the bottom of a library's error, in plain words.

The libraries of S3 and of Swift each have a family of errors of their own, and below it the same ones of Python.
"""

import errno
import http.client
import socket
import ssl
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

from glance.store.proxy import Proxy

_DEPTH = 20  # errors below one another that are looked at
_OTHER_NAME = frozenset({62, 64})  # OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH, _IP_ADDRESS_MISMATCH
_OTHER_TIME = frozenset({9, 10})  # _CERT_NOT_YET_VALID, _CERT_HAS_EXPIRED
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE"})
_PROXY = frozenset({"ProxyError", "ProxyConnectionError"})  # of urllib3 and requests, of botocore
_NO_ROUTE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN})


class Trouble(NamedTuple):
    """`text` ends a sentence that begins with the server, and names no address, so that a user may see it."""

    text: str
    advice: str  # to the operator
    cause: str  # for the log: the error at the bottom, in the words of the operating system or of TLS
    lasting: bool = False  # another try would not help


def trouble(error: BaseException, where: str, cacert: str) -> Trouble:
    """`where` names the address, and `cacert` the option for certificates, both for the advice."""
    chain = list(_below(error))
    names = {type(item).__name__ for item in chain}
    bottom = chain[-1]
    cause = _cause(bottom)
    for item in reversed(chain):
        if isinstance(item, ssl.SSLError) or type(item).__name__ == "CertificateError":
            return _of_tls(item, where, cacert, cause)
        if _is_about_a_file(item):
            return _bad_cacert(cacert, cause)
    if names & _PROXY:
        reason = str(bottom) if str(bottom).startswith("Tunnel connection failed") else cause
        advice = f"the proxy does not lead to {where}: {reason}"
        return Trouble("cannot be reached through the proxy of this server", advice, cause)
    if isinstance(bottom, socket.gaierror):
        advice = f"the name in {where} does not resolve: is it spelt right, and does this server's DNS know it?"
        return Trouble("cannot be reached: its name does not resolve", advice, cause)
    if isinstance(bottom, ConnectionRefusedError):
        advice = f"nobody listens at {where}: does the service run there, and is the port right?"
        return Trouble("cannot be reached: it refuses connections", advice, cause)
    if isinstance(bottom, OSError) and bottom.errno in _NO_ROUTE:
        advice = f"no way leads to {where}: look at this server's network"
        return Trouble("cannot be reached: no way leads there", advice, cause)
    if "ConnectTimeoutError" in names:
        advice = f"{where} does not take connections in time: a firewall, or a host that is down, looks so"
        return Trouble("cannot be reached in time", advice, cause)
    if isinstance(bottom, TimeoutError):
        advice = f"{where} takes connections, but says nothing in time: is it overloaded, or waiting itself?"
        return Trouble("does not answer in time", advice, cause)
    if isinstance(bottom, ConnectionError | http.client.BadStatusLine):
        tls = "" if where.startswith("https:") else ": if it speaks TLS, its address must begin with https://"
        return Trouble("breaks connections off", f"{where} breaks connections off without an answer{tls}", cause)
    return Trouble("does not answer as it should", f"{where} does not answer as it should: {cause}", cause)


def address(url: str) -> str:
    """Scheme, host and port of a URL, for an advice: no name or password that may stand before them."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def via(proxy: Proxy | None) -> str:
    """Return what an advice says of the proxy on the way to a server, without its password."""
    return f" through {proxy.address} (store_http_proxy)" if proxy else ""


def _below(error: BaseException) -> Iterator[BaseException]:
    """The error, and what lies below it."""
    inner: BaseException | None = error
    for _ in range(_DEPTH):
        if inner is None:
            return
        yield inner
        reason = getattr(inner, "reason", None)  # urllib3's way to chain, beside Python's
        nested = [item for item in (reason, *inner.args) if isinstance(item, BaseException)]
        inner = nested[0] if nested else inner.__cause__ or inner.__context__


def _cause(bottom: BaseException) -> str:
    """Without URLs, which libraries put into their errors; the certificate's names are an operator's matter."""
    name = type(bottom).__name__
    if isinstance(bottom, ssl.SSLCertVerificationError):
        return f"{name}: {bottom.verify_message}"
    return f"{name}: {bottom.strerror}" if isinstance(bottom, OSError) and isinstance(bottom.strerror, str) else name


def _of_tls(item: BaseException, where: str, cacert: str, cause: str) -> Trouble:
    code = getattr(item, "verify_code", None)
    if code in _OTHER_NAME or not isinstance(item, ssl.SSLError):
        advice = f"the certificate of {where} is for another name: write the address with the name that it is for"
        return Trouble("shows a certificate for another name", advice, cause, lasting=True)
    if code in _OTHER_TIME:
        advice = f"the certificate of {where} is not valid now: renew it, if this server's clock is right"
        return Trouble("shows a certificate that is not valid at this time", advice, cause, lasting=True)
    if isinstance(item, ssl.SSLCertVerificationError):
        advice = (
            f"the certificate of {where} is signed by nobody whom this server trusts ({item.verify_message}): "
            f"name the file with the certificate of that authority in {cacert}"
        )
        return Trouble("shows a certificate that is not trusted", advice, cause, lasting=True)
    if item.reason in _NO_TLS:
        advice = f"{where} answers without TLS: its address must begin with http://, or have another port"
        return Trouble("speaks no TLS", advice, cause, lasting=True)
    if item.library == "X509" or "PEM" in (item.reason or ""):
        return _bad_cacert(cacert, cause)
    return Trouble("breaks TLS off", f"{where} and this server do not agree on TLS: {item.reason}", cause)


def _is_about_a_file(item: BaseException) -> bool:
    """requests has nothing but a text for a file that is not there."""
    return isinstance(item, FileNotFoundError | PermissionError | IsADirectoryError) or (
        type(item) is OSError and "CA certificate" in str(item)
    )


def _bad_cacert(cacert: str, cause: str) -> Trouble:
    advice = f"the file that {cacert} names must be there, readable for this user, and hold certificates as PEM"
    return Trouble("cannot be judged: the file of certificates to trust cannot be read", advice, cause, lasting=True)
