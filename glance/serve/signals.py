# SPDX-License-Identifier: Apache-2.0
"""The signals that a daemon handles."""

import signal

HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)
_OF_TERMINALS = (signal.SIGINT, signal.SIGHUP)


def find_handled() -> tuple[signal.Signals, ...]:
    """Return the signals that this process handles, which is to be asked before a handler is installed.

    Those of a terminal stay ignored in a process that was started so: `nohup` ignores SIGHUP, and a shell without job
    control SIGINT for what it runs in the background.
    """
    return tuple(
        number for number in HANDLED if number not in _OF_TERMINALS or signal.getsignal(number) is not signal.SIG_IGN
    )
