# SPDX-License-Identifier: Apache-2.0
"""What a daemon tells of itself: to systemd or glance-control, to its predecessor, and by its pid file."""

import logging
import os
import time

from glance.cli.launch import PID_DESCRIPTOR
from glance.cli.process import notify, write_pid
from glance.serve import succession
from glance.serve.succession import SERVES, Legacy


class Lifecycle(succession.Lifecycle):
    """`legacy`: what a predecessor left, if there is one. It speaks for both until we serve."""

    def __init__(self, name: str, legacy: Legacy | None) -> None:
        self._log = logging.getLogger(name)
        self._legacy = legacy
        number = os.environ.get(PID_DESCRIPTOR)
        self.kept = (int(number),) if number else ()

    def serves(self, url: str) -> None:
        if self._legacy is not None:
            self._legacy.settle(SERVES)
        else:
            notify(f"READY=1\nSTATUS={url}")

    def refuses(self, reason: str) -> None:
        if self._legacy is not None:
            self._legacy.settle(reason)
        else:
            notify(f"STATUS={reason}")

    def begins_handover(self) -> None:
        self._log.info("starting a successor")
        notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def handed_over(self, pid: int) -> None:
        self._log.info("process %d serves from now on", pid)
        for descriptor in self.kept:
            write_pid(descriptor, pid)
        notify(f"MAINPID={pid}\nREADY=1")

    def goes_on(self, reason: str) -> None:
        self._log.error("the successor did not start, this process goes on: %s", reason)
        for descriptor in self.kept:  # glance-control looks at the time of its last change
            write_pid(descriptor, os.getpid())
        notify("READY=1")

    def leave(self) -> None:
        for descriptor in self.kept:  # and its lock: from here on that is the successor's
            os.close(descriptor)
        self.kept = ()

    def stops(self) -> None:
        notify("STOPPING=1")
