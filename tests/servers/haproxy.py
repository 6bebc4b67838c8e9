# SPDX-License-Identifier: Apache-2.0
"""HAProxy of Debian's package, with the configuration that docs/scaling.md shows."""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.functional.debian import program
from tests.servers.processes import Processes, free_port

EXAMPLE = Path(__file__).parents[2] / "etc/examples/haproxy.cfg"
SERVER = r"^    server (\w+) \S+"


class Haproxy:
    """Running; `servers` are the ports of the loopback address in place of the example's servers, by their names."""

    def __init__(self, folder: Path, servers: Mapping[str, int]) -> None:
        """Skips the test where it cannot be installed."""
        command = program("haproxy", "haproxy", needed=True)
        self.api_port, self.registry_port = free_port(), free_port()
        text = EXAMPLE.read_text()
        names = re.findall(SERVER, text, re.MULTILINE)
        assert set(names) == set(servers)
        text = re.sub(
            SERVER, lambda found: f"    server {found[1]} 127.0.0.1:{servers[found[1]]}", text, flags=re.MULTILINE
        )
        text = text.replace("bind :9292", f"bind 127.0.0.1:{self.api_port}")
        text = text.replace("bind 127.0.0.1:9191", f"bind 127.0.0.1:{self.registry_port}")
        assert "192.0.2" not in text
        config = folder / "haproxy.cfg"
        config.write_text(text)
        done = subprocess.run([command, "-c", "-f", config], capture_output=True, text=True, check=False)
        assert (done.returncode, "WARNING" in done.stdout + done.stderr) == (0, False), done.stdout + done.stderr
        self._processes = Processes(folder)
        self._processes.start("haproxy", command, "-db", "-f", config)
        for port in (self.api_port, self.registry_port):
            self._processes.await_port(port)

    def stop(self) -> None:
        self._processes.stop()
