"""JSON objects, one a line, over one end of a socket pair."""

from __future__ import annotations

import json
import select
import socket
from typing import Any

Message = dict[str, Any]


class Wire:
    """One end: sends objects, and keeps what arrives until a line is whole.

    A socket pair has no name and listens to nobody: who did not inherit an end cannot reach it.
    """

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._rest = b""
        #: Whether the other end is closed: its process is gone.
        self.closed = False

    def fileno(self) -> int:
        return self._end.fileno()

    def send(self, message: Message) -> bool:
        """Send one object; False when nobody is there to take it."""
        try:
            self._end.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            self.closed = True
            return False
        return True

    def receive(self, timeout: float | None = 0.0) -> list[Message]:
        """What has arrived; waits up to `timeout` seconds (None: for ever) for a first line."""
        lines: list[bytes] = []
        while not lines and not self.closed and self._readable(timeout):
            try:
                found = self._end.recv(2**20)
            except OSError:
                found = b""
            self.closed = not found
            *lines, self._rest = (self._rest + found).split(b"\n")
        return [json.loads(line) for line in lines]

    def _readable(self, timeout: float | None) -> bool:
        # `poll`, not `select`: a worker may have more than 1024 files open.
        poll = select.poll()
        poll.register(self._end, select.POLLIN)
        return bool(poll.poll(None if timeout is None else 1000 * timeout))

    def close(self) -> None:
        self.closed = True
        self._end.close()
