# SPDX-License-Identifier: Apache-2.0
"""glance-api: the daemon, in the foreground."""

import sys


def main() -> int:
    from glance.serve import green

    green.patch()  # before anything else is imported that may hold on to sockets or threads
    from glance.cli import daemon

    return daemon.run("glance-api", sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
