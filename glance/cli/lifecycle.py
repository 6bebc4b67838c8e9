# SPDX-License-Identifier: Apache-2.0
"""What a daemon tells of itself: to systemd or glance-control, to its predecessor, and by its pid file."""

import logging
import os
import time

from glance.cli import init
from glance.cli.launch import PID_DESCRIPTOR
from glance.cli.process import WARNING_FIELD, notify, write_pid
from glance.cli.title import set_title
from glance.serve import succession
from glance.serve.succession import SERVES, Legacy


class Lifecycle(succession.Lifecycle):
    """`legacy`: what a predecessor left, if there is one. It speaks for both until we serve."""

    def __init__(self, name: str, legacy: Legacy | None) -> None:
        self._name = name
        self._role = "master"
        self._log = logging.getLogger(name)
        self._legacy = legacy
        self._pid_file = _get_descriptor(PID_DESCRIPTOR)
        self._init = _get_descriptor(init.DESCRIPTOR)
        self.kept = tuple(number for number in (self._pid_file, self._init) if number is not None)
        set_title(name, self._role)

    def worker_starts(self, number: int) -> None:
        self._role = f"worker {number}"
        set_title(self._name, self._role)

    def serves(self, url: str) -> None:
        if self._legacy is not None:
            self._legacy.settle(SERVES)
        else:
            notify(f"READY=1\nSTATUS={url}")

    def warn(self, text: str) -> None:
        """Write a warning to the log, and have glance-control show it to the operator."""
        self._log.warning("%s", text)
        if self._legacy is None:
            notify(f"{WARNING_FIELD}={text}")

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
        if self._pid_file is not None:
            write_pid(self._pid_file, pid)
        if self._init is None:
            notify(f"MAINPID={pid}\nREADY=1")
        else:  # which remains the main process
            init.announce(self._init, pid)
            notify("READY=1")

    def goes_on(self, reason: str) -> None:
        self._log.error("the successor did not start, this process goes on: %s", reason)
        if self._pid_file is not None:  # glance-control looks at the time of its last change
            write_pid(self._pid_file, os.getpid())
        notify("READY=1")

    def leave(self) -> None:
        set_title(self._name, f"{self._role} (finishing)")
        for descriptor in self.kept:  # and its lock: from here on that is the successor's
            os.close(descriptor)
        self.kept = ()

    def stops(self) -> None:
        set_title(self._name, f"{self._role} (finishing)")
        notify("STOPPING=1")


def _get_descriptor(variable: str) -> int | None:
    number = os.environ.get(variable)
    return int(number) if number else None
