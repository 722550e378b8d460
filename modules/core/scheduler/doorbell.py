"""How nodes on one SQLite file, which are on one machine, wake each other: a byte to a port of the loopback.

Anybody on the machine may ring: it makes a node look at its database, at most twenty times a second, and no more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

LOOPBACK: Final = "127.0.0.1"
KINDS: Final = frozenset(b"dcn")  # something is due, changed, or asked of a node
GAP = 0.05


class Doorbell(asyncio.DatagramProtocol):
    """`open()` gives a port; `rung(kinds)` is called on the event loop with the kinds heard since the last call."""

    def __init__(self, rung: Callable[[set[int]], None]) -> None:
        self._rung = rung
        self._heard: set[int] = set()
        self._quiet: asyncio.TimerHandle | None = None
        self._transport: asyncio.DatagramTransport | None = None

    async def open(self) -> int:
        """Listen on a free port of the loopback; returns its number."""
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(LOOPBACK, 0))
        port: int = self._transport.get_extra_info("sockname")[1]
        return port

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def ring(self, ports: Iterable[int], kinds: bytes) -> None:
        """Wake whoever listens there; nobody learns whether it was heard."""
        if self._transport is not None:
            for port in ports:
                self._transport.sendto(kinds, (LOOPBACK, port))

    def close(self) -> None:
        if self._quiet is not None:
            self._quiet.cancel()
        if self._transport is not None:
            self._transport.close()

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._heard |= KINDS.intersection(data[: len(KINDS)])
        if self._quiet is None:
            self._tell()

    def error_received(self, exc: Exception) -> None:
        """A port where nobody listens any more."""

    def _tell(self) -> None:
        self._quiet = None
        if self._heard:
            heard, self._heard = self._heard, set()
            self._quiet = asyncio.get_running_loop().call_later(GAP, self._tell)
            self._rung(heard)
