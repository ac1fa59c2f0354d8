"""Does a Ray cluster answer at an address? Asked here, since Ray itself waits for minutes."""

from __future__ import annotations

import os
import re
import socket
import struct
import time

from lepton_ref.cloud.sweeps.backends.base import BackendError
from lepton_ref.cloud.sweeps.errors import SweepError

ACCEPTED = 'None (a cluster of this process), "auto", "host:port" or "ray://host:port"'

_ADDRESS = re.compile(r"(?P<client>ray://)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):(?P<port>\d+)")
# Both ports of Ray speak gRPC, so HTTP/2. A server of it opens with a SETTINGS frame (RFC 9113,
# 3.4): nine octets, the fourth of them the type, 4.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + struct.pack(">IBI", 4, 0, 0)
_SETTINGS = 4


def parse(address: str) -> tuple[str, int] | None:
    """Host and port of an address; None for ``"auto"``, which is looked up on the machine.

    Raises
    ------
    SweepError
        For anything else.
    """
    if address == "auto":
        return None
    found = _ADDRESS.fullmatch(address)
    if found is None or not 0 < int(found["port"]) < 65536:
        hint = ""
        if address.startswith(("http://", "https://")):
            hint = " (an http address is the dashboard's, which takes jobs and not tasks)"
        raise SweepError(f"argument `address` has the value {address!r}{hint}; expected {ACCEPTED}")
    return found["host"].strip("[]"), int(found["port"])


def check_answer(host: str, port: int, within: float = 10.0) -> None:
    """Return when something at the address speaks Ray's protocol.

    Parameters
    ----------
    host : str
    port : int
    within : float
        Seconds for it all, the look-up of the name aside.

    Raises
    ------
    BackendError
        With the reason: nothing listens, nothing is said, another protocol is spoken.
    """
    end = time.monotonic() + within
    where = f"the Ray address {host}:{port}"
    try:
        with socket.create_connection((host, port), timeout=within / 2) as connection:
            if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
                return  # what follows is encrypted
            connection.sendall(_PREFACE)
            said = _first_frame(connection, end)
    except TimeoutError as error:
        raise BackendError(
            f"{where} does not answer: no word in {within:.0f} s; is the cluster up, and does a "
            "firewall let this machine through?"
        ) from error
    except OSError as error:
        raise BackendError(
            f"{where} does not answer: {error.strerror or error}; is the cluster up, and is this "
            "its port (6379 for host:port, 10001 for ray://)?"
        ) from error
    if len(said) < 9 or said[3] != _SETTINGS:
        raise BackendError(
            f"{where} answers, but not as Ray does; its ports are 6379 for host:port and 10001 for "
            "ray:// (8265 is the dashboard's)"
        )


def _first_frame(connection: socket.socket, end: float) -> bytes:
    said = b""
    while len(said) < 9:
        connection.settimeout(max(0.01, end - time.monotonic()))
        more = connection.recv(9 - len(said))
        if not more:
            break
        said += more
    return said
