# SPDX-License-Identifier: Apache-2.0
"""glance-api: the daemon, in the foreground."""

import sys
import warnings


def main() -> int:
    from glance.cli.init import fork_from_init

    fork_from_init("glance-api")  # early, because what is loaded stays in the memory of the parent
    # Eventlet announces its own retirement: news for us, not for the one who starts a daemon.
    warnings.filterwarnings("ignore", message=r"(?s).*Eventlet is deprecated")
    from glance.serve import green

    green.patch()  # before anything else is imported that may hold on to sockets or threads
    from glance.cli import daemon

    return daemon.run("glance-api", sys.argv[1:])


if __name__ == "__main__":
    from glance.cli.startup import run

    sys.exit(run("glance.cli.api:main"))
