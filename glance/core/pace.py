# SPDX-License-Identifier: Apache-2.0
"""Whether somebody keeps up: who sends or takes bytes one by one holds a connection as long as he likes."""

WINDOW = 30.0  # seconds of waiting over which the rate is judged


class Pace:
    """Counts bytes against the time that was spent waiting for others; not the time that we needed ourselves.

    `least` is the number of bytes per second that is expected on the average; 0: none."""

    def __init__(self, least: int) -> None:
        self._least = least
        self._waited = 0.0
        self._bytes = 0

    def note(self, seconds: float, count: int) -> None:
        """`count` bytes took so many seconds of waiting. Raises TimeoutError for who is too slow."""
        self._waited += seconds
        self._bytes += count
        if self._waited < WINDOW:
            return
        if self._bytes < self._least * self._waited:
            raise TimeoutError(f"less than {self._least} bytes per second")
        self._waited, self._bytes = 0.0, 0
