# SPDX-License-Identifier: Apache-2.0
"""What ps, top and pgrep show of a daemon."""

import setproctitle


def set_title(program: str, role: str) -> None:
    """Show `program: role` as the command line of this process, and the program (15 characters) as its name."""
    setproctitle.setproctitle(f"{program}: {role}")
    setproctitle.setthreadtitle(program)  # setproctitle() has set the name to the beginning of the title
