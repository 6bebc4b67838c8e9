# SPDX-License-Identifier: Apache-2.0
"""Which addresses belong to this machine. The kernel is asked; no packet is sent."""

import ipaddress
import json
import subprocess
import sys

import pytest

from glance.store import local_address
from glance.store.local_address import is_local

PUBLIC = ("93.184.215.14", "2606:4700::1111")

# In a network namespace with addresses of its own and, as on balancers, permission to bind any address.
SCRIPT = """\
import fcntl, ipaddress, json, pathlib, socket, struct, sys
from glance.core.errors import Invalid
from glance.store.guard import Guard

SIOCSIFADDR, SIOCSIFFLAGS = 0x8916, 0x8914
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", 1))
    for name, address in ((b"lo:1", "93.184.215.14"), (b"lo:2", "93.184.215.15")):
        fcntl.ioctl(sock, SIOCSIFADDR, struct.pack("16sHH4s8x", name, socket.AF_INET, 0, socket.inet_aton(address)))
with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
    packed = socket.inet_pton(socket.AF_INET6, "2606:4700::1111")
    fcntl.ioctl(sock, SIOCSIFADDR, struct.pack("16sIi", packed, 128, socket.if_nametoindex("lo")))
for version in ("ipv4", "ipv6"):
    pathlib.Path(f"/proc/sys/net/{version}/ip_nonlocal_bind").write_text("1")
answers = {}
for address in sys.argv[1:]:
    host = f"[{address}]" if ":" in address else address
    try:
        Guard().judge(f"http://{host}/")
    except Invalid:
        answers[address] = "refused"
    else:
        answers[address] = "open"
print(json.dumps(answers))
"""


def test_loopback_is_local_and_public_addresses_of_others_are_not():
    assert is_local(ipaddress.ip_address("127.0.0.1"))
    assert is_local(ipaddress.ip_address("::1"))
    assert not any(is_local(ipaddress.ip_address(address)) for address in PUBLIC)


@pytest.mark.parametrize("error", [OSError, AttributeError])
def test_without_netlink_what_can_be_bound_is_local(monkeypatch, error):
    def fail(address):
        raise error

    monkeypatch.setattr(local_address, "_get_route_type", fail)
    assert is_local(ipaddress.ip_address("127.0.0.1"))
    assert not is_local(ipaddress.ip_address(PUBLIC[0]))


def test_ip_nonlocal_bind_closes_nothing_but_this_machines_own_addresses():
    if subprocess.run(["unshare", "-rn", "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("no network namespaces here")
    own = ["93.184.215.14", "93.184.215.15", "2606:4700::1111"]
    others = ["94.184.215.16", "1.1.1.1", "2606:4700::1112", "2a00:1450::1"]
    done = subprocess.run(
        ["unshare", "-rn", sys.executable, "-c", SCRIPT, *own, *others], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == dict.fromkeys(own, "refused") | dict.fromkeys(others, "open")
