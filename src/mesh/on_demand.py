"""Handshakes that wait for a certificate, because none covers the name and the control process may get one."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from mesh.ratelimit import network_of

if TYPE_CHECKING:
    from mesh.core import Core

# Each that waits keeps a hello and a socket.
MOST_HELD: Final = 1024
MOST_HELD_PER_NETWORK: Final = 128
# Names that are asked for and not yet answered; somebody who asks and leaves does not make room for another name.
MOST_ASKED: Final = 1024
MOST_REFUSED: Final = 4096
# Names that one network may have asked for, by all workers together: at once, and one more in how many seconds. It
# keeps the control process free; how many certificates somebody may cause is decided there.
_BURST: Final = 100
_INTERVAL_S: Final = 0.1
_LONGEST_REFUSAL_S: Final = 24 * 3600.0
# A handshake takes a millisecond: a thousand that go on at once would keep everybody else waiting.
_AT_ONCE: Final = 16


class Waiter(Protocol):
    """A visitor whose handshake is held."""

    def go_on(self, *, is_refused: bool) -> None:
        """The certificate is there, or none will come."""


class _Place(NamedTuple):
    """Where a waiter is counted."""

    name: str
    network: bytes


class OnDemand:
    """The names that visitors of one worker wait for. All times are on the clock of the core."""

    def __init__(self, core: Core) -> None:
        """Nobody waits, and nobody can be asked before `ask` is set."""
        # Asks for a certificate of a name, for a visitor's address; False when that is of no use just now.
        self.ask: Callable[[str, str], bool] | None = None
        self._core = core
        self._held: dict[Waiter, _Place] = {}
        self._by_name: dict[str, set[Waiter]] = {}
        self._by_network: dict[bytes, int] = {}
        # By name until when an answer is expected, and until when there is no use in asking; the oldest first.
        self._asked: OrderedDict[str, float] = OrderedDict()
        self._refused: OrderedDict[str, float] = OrderedDict()
        self._ready: deque[tuple[Waiter, bool]] = deque()

    @property
    def held(self) -> int:
        """How many handshakes wait."""
        return len(self._held)

    def hold(self, waiter: Waiter, name: str, address: str) -> bool:
        """Let `waiter` wait for a certificate of `name`, a folded one; False when there is no use, or no room."""
        if self._core.settings.on_demand_s <= 0:
            return False
        network = network_of(address.encode())
        if not self._has_room(network, address) or not self._is_expected(name, network, address):
            return False
        self._held[waiter] = _Place(name, network)
        self._by_name.setdefault(name, set()).add(waiter)
        self._by_network[network] = self._by_network.get(network, 0) + 1
        return True

    def leave(self, waiter: Waiter) -> None:
        """The visitor waits no more; the name is still asked for."""
        place = self._held.pop(waiter, None)
        if place is None:
            return
        waiters = self._by_name.get(place.name)
        if waiters is not None:
            waiters.discard(waiter)
            if not waiters:
                del self._by_name[place.name]
        left = self._by_network[place.network] - 1
        if left:
            self._by_network[place.network] = left
        else:
            del self._by_network[place.network]

    def refused(self, name: str, retry_after_s: float) -> None:
        """No certificate comes for `name`, and none is to be asked for within so many seconds."""
        self._asked.pop(name, None)
        self._refused.pop(name, None)
        if retry_after_s > 0:
            self._refused[name] = self._core.now + min(retry_after_s, _LONGEST_REFUSAL_S)
            if len(self._refused) > MOST_REFUSED:
                self._refused.popitem(last=False)
        self._release(name, is_refused=True)

    def look_again(self) -> None:
        """Certificates or settings have changed: whoever has one now goes on, and so do all when nobody is to wait."""
        if self._core.settings.on_demand_s <= 0:
            self.release()
            return
        if not self._by_name and not self._asked:
            return
        covers = self._core.certificates.find
        for name in [name for name in {*self._by_name, *self._asked} if covers(name) is not None]:
            self._asked.pop(name, None)
            self._release(name, is_refused=False)

    def release(self) -> None:
        """Let all go on without a certificate, and forget what was refused."""
        self._asked.clear()
        self._refused.clear()
        for name in tuple(self._by_name):
            self._release(name, is_refused=True)

    def _has_room(self, network: bytes, address: str) -> bool:
        core = self._core
        if len(self._held) >= MOST_HELD or core.is_draining:
            return False
        if self._by_network.get(network, 0) < MOST_HELD_PER_NETWORK:
            return True
        # Behind a load balancer that announces nobody, everybody has the same address.
        return core.peer(address, b"https").is_trusted

    def _is_expected(self, name: str, network: bytes, address: str) -> bool:
        """Whether an answer may come: one is under way, or could be asked for."""
        core, now = self._core, self._core.now
        if self._refused.get(name, 0.0) > now:
            return False
        if self._asked.get(name, 0.0) > now:
            return True
        while self._asked and next(iter(self._asked.values())) <= now:
            # It may come all the same; those who wait for it are not forgotten.
            self._asked.popitem(last=False)
        if self.ask is None or len(self._asked) >= MOST_ASKED:
            return False
        if not core.peer(address, b"https").is_trusted:
            key = b"certificates for %b" % network
            if core.buckets.take(key, core.time(), _INTERVAL_S, _BURST) > 0:
                return False
        if not self.ask(name, address):
            return False
        self._asked[name] = now + core.settings.on_demand_s
        return True

    def _release(self, name: str, *, is_refused: bool) -> None:
        waiters = self._by_name.pop(name, None)
        if waiters is None:
            return
        is_idle = not self._ready
        self._ready.extend((waiter, is_refused) for waiter in waiters)
        if is_idle:
            self._core.call_soon(self._go_on)

    def _go_on(self) -> None:
        ready = self._ready
        for _ in range(min(_AT_ONCE, len(ready))):
            waiter, is_refused = ready.popleft()
            # It may have left meanwhile.
            if waiter in self._held:
                self.leave(waiter)
                waiter.go_on(is_refused=is_refused)
        if ready:
            self._core.call_soon(self._go_on)
