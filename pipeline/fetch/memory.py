"""Memory for bodies: what is under way at once stays within a bound."""

import asyncio
from collections import deque


class BodyMemory:
    """Bounds the memory of bodies under way: each reserves all it may need at once, so that none
    ever waits while it holds a part of what another one needs."""

    def __init__(self, total_bytes: int) -> None:
        self._free = self._total = total_bytes
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def reserve(self, wanted_bytes: int) -> int:
        """Wait for room; what was reserved, to be given back. More than there is takes it all."""
        wanted = min(wanted_bytes, self._total)
        if self._waiters or wanted > self._free:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append((wanted, waiter))
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self.release(wanted)
                raise
        else:
            self._free -= wanted
        return wanted

    def release(self, reserved_bytes: int) -> None:
        """Give room back and let those in who fit now, in order of arrival."""
        self._free += reserved_bytes
        while self._waiters and (self._waiters[0][1].done() or self._waiters[0][0] <= self._free):
            wanted, waiter = self._waiters.popleft()
            if not waiter.done():
                self._free -= wanted
                waiter.set_result(None)
