# SPDX-License-Identifier: Apache-2.0
"""What lies at the bottom of an error is found, whoever wrapped it, and told without addresses.

That real servers and libraries raise such errors is shown by tests/contract/test_store_tls.py."""

import errno
import http.client
import socket
import ssl

import pytest
import requests
import urllib3

from glance.store.reach import address, trouble

WHERE = "http://store.example.org:8080 (store_host)"


def refused_certificate(code: int, message: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, f"[SSL: CERTIFICATE_VERIFY_FAILED] {message}")
    error.verify_code, error.verify_message, error.reason = code, message, "CERTIFICATE_VERIFY_FAILED"
    return error


def broken_tls(reason: str | None, library: str = "SSL") -> ssl.SSLError:
    error = ssl.SSLError(1, "wrong")
    error.reason, error.library = reason, library
    return error


@pytest.mark.parametrize(("bottom", "text", "advice", "lasting"), [
    (socket.gaierror(-2, "Name or service not known"), "name does not resolve", "DNS", False),
    (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "refuses connections", "nobody listens", False),
    (OSError(errno.EHOSTUNREACH, "No route to host"), "no way leads there", "network", False),
    (OSError(errno.ENETUNREACH, "Network is unreachable"), "no way leads there", "network", False),
    (TimeoutError("timed out"), "does not answer in time", "says nothing in time", False),
    (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "breaks connections off", "https://", False),
    (http.client.RemoteDisconnected("closed"), "breaks connections off", "https://", False),
    (http.client.BadStatusLine("\x15\x03\x01"), "breaks connections off", "https://", False),
    (refused_certificate(20, "unable to get local issuer certificate"), "certificate that is not trusted", "cacert_option", True),
    (refused_certificate(18, "self-signed certificate"), "certificate that is not trusted", "self-signed", True),
    (refused_certificate(62, "Hostname mismatch"), "certificate for another name", "another name", True),
    (refused_certificate(64, "IP address mismatch"), "certificate for another name", "another name", True),
    (refused_certificate(10, "certificate has expired"), "not valid at this time", "renew it", True),
    (refused_certificate(9, "certificate is not yet valid"), "not valid at this time", "clock", True),
    (broken_tls("WRONG_VERSION_NUMBER"), "speaks no TLS", "http://", True),
    (broken_tls(None, "X509"), "file of certificates", "cacert_option", True),
    (broken_tls("SSLV3_ALERT_HANDSHAKE_FAILURE"), "breaks TLS off", "SSLV3_ALERT_HANDSHAKE_FAILURE", False),
    (FileNotFoundError(errno.ENOENT, "No such file or directory"), "file of certificates", "cacert_option", True),
    (OSError("Could not find a suitable TLS CA certificate bundle, invalid path: x"), "file of certificates", "cacert_option", True),
    (http.client.IncompleteRead(b""), "does not answer as it should", "IncompleteRead", False),
], ids=repr)  # fmt: skip
@pytest.mark.parametrize("wrapped", ["bare", "by cause", "by reason", "by argument"])
def test_the_bottom_is_found(bottom, text, advice, lasting, wrapped):
    error: BaseException = bottom
    if wrapped == "by cause":
        error = RuntimeError("http://secret:secret@store.example.org/")
        error.__cause__ = bottom
    elif wrapped == "by reason":
        error = requests.ConnectionError(urllib3.exceptions.MaxRetryError(None, "/secret", bottom))
    elif wrapped == "by argument":
        error = urllib3.exceptions.ProtocolError("Connection aborted.", bottom)
    found = trouble(error, WHERE, "cacert_option")
    assert text in found.text
    assert advice in found.advice
    assert found.lasting is lasting
    assert "store.example.org" not in found.text + found.cause
    assert "secret" not in "".join(map(str, found))


def test_a_connection_that_takes_too_long_is_told_from_an_answer_that_does():
    error = urllib3.exceptions.ConnectTimeoutError(None, "timed out")
    error.__context__ = TimeoutError("timed out")
    assert trouble(error, WHERE, "").text == "cannot be reached in time"


def test_errors_that_go_round_in_circles_end():
    first, second = ValueError(), KeyError()
    first.__context__, second.__context__ = second, first
    assert trouble(first, WHERE, "").text == "does not answer as it should"


@pytest.mark.parametrize(("url", "shown"), [
    ("https://s3.example.org", "https://s3.example.org"), ("http://user:secret@127.0.0.1:8080/auth/v1.0?key=secret", "http://127.0.0.1:8080"),
    ("http://[::1]:9/", "http://[::1]:9"), ("http://", "http://"),
])  # fmt: skip
def test_an_address_holds_no_credentials(url, shown):
    assert address(url) == shown
