"""An event loop in virtual time: when nobody has anything to do, the next timer's time has come.

Programs run under it unchanged. ``asyncio.sleep(3600)`` takes no time at all, what ``asyncio.start_server``,
``asyncio.open_connection`` and `gossip.Cluster` open are sockets of simulated machines, and one seed is
one history. What it cannot simulate it leaves alone or refuses: real sockets, processes and threads of
a program's own live in real time, and code that reads ``time.monotonic`` sees it.

Whatever is started within `on_machine` belongs to that machine, and stands still while it is paused.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import random
import selectors
import socket
from collections import Counter
from contextvars import Context, ContextVar, copy_context
from typing import TYPE_CHECKING, Any, TypeVar

from simulations.network import Network, Weather
from simulations.trace import Trace
from simulations.virtual.machine import VirtualMachine, VirtualSocket
from simulations.virtual.wires import Wires

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from simulations.virtual.streams import VirtualServer

__all__ = ["START", "StalledError", "VirtualLoop"]

START = 1000.0
"""The virtual time at the beginning, seconds."""
DEFAULT_LIMIT = 3600.0
"""Virtual seconds after which a program that has not ended is taken to hang."""

_T = TypeVar("_T")
_NOBODY = Context()
"""What the network does belongs to no machine."""
_machine: ContextVar[VirtualMachine | None] = ContextVar("machine", default=None)


class StalledError(AssertionError):
    """The program waits for something that nothing will bring about."""


class _Call:
    """A callback of a machine, which may be stopped when its time comes."""

    __slots__ = ("args", "callback", "context", "handle")

    def __init__(
        self, callback: Callable[..., object], args: tuple[Any, ...], context: Context
    ) -> None:
        self.callback = callback
        self.args = args
        self.context = context
        self.handle: asyncio.Handle | None = None


class _Selector(selectors.DefaultSelector):
    """Looks at what is real, but does not wait for it: the loop's time is moved on instead."""

    skip: Callable[[float | None], None]

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        real = len(self.get_map()) > 1  # besides the loop's own socket, which wakes it up
        if timeout is None and real:
            return super().select(None)
        self.skip(timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """One program's time, machines and network.

    Args:
        seed: of every choice of the network and of the nodes.
        weather: how the network is at first.
        limit: virtual seconds until the program is taken to hang; `limit_at` moves it.
    """

    def __init__(
        self, seed: int = 1, *, weather: Weather | None = None, limit: float = DEFAULT_LIMIT
    ) -> None:
        selector = _Selector()
        super().__init__(selector)
        selector.skip = self._skip
        self.seed = seed
        self.limit_at = START + limit
        """The virtual time at which `StalledError` ends whatever runs."""
        self.covered: Counter[str] = Counter()
        """How often each fault of the network really happened."""
        self.network = Network(random.Random(f"network {seed}"), weather or Weather(), self.covered)
        self.trace = Trace()
        """Every packet in order."""
        self.wires = Wires(self)
        self.machines: dict[str, VirtualMachine] = {}
        self._now = START

    # Time

    def time(self) -> float:
        """The virtual time, seconds."""
        return self._now

    def _skip(self, seconds: float | None) -> None:
        if seconds is None:
            raise StalledError(f"nothing is left to happen{self._waiting()}")
        if self._now + seconds > self.limit_at:
            self._now, self.limit_at = self.limit_at, float("inf")  # what cleans up has time
            raise StalledError(f"not over at {self._now - START:g} virtual s{self._waiting()}")
        self._now += seconds

    def _waiting(self) -> str:
        """Where the program's own tasks wait, for a message."""
        lines = []
        for task in sorted(asyncio.all_tasks(self), key=lambda task: task.get_name()):
            if frames := task.get_stack(limit=1):
                place = frames[0]
                lines.append(f"{task.get_name()}: {place.f_code.co_filename}:{place.f_lineno}")
        return "".join(f"\n  waiting: {line}" for line in lines[:20])

    # Machines

    def machine(self, name: str) -> VirtualMachine:
        """The machine for the member of this name: the present one, or else one of its own."""
        return _machine.get() or self.machine_called(name)

    def machine_called(self, name: str) -> VirtualMachine:
        """The machine of this name, made if there is none."""
        machine = self.machines.get(name)
        if machine is None:
            number = len(self.machines)
            ip = f"10.{number // 62500}.{number // 250 % 250}.{number % 250 + 1}"
            machine = VirtualMachine(self, name, ip, random.Random(f"{self.seed} {name}"))
            self.machines[name] = machine
        return machine

    @contextlib.contextmanager
    def on_machine(self, machine: VirtualMachine) -> Iterator[None]:
        """What is started within belongs to this machine: its sockets, and its tasks when it pauses."""
        token = _machine.set(machine)
        try:
            yield
        finally:
            _machine.reset(token)

    def here(self) -> VirtualMachine:
        """The machine that the running code belongs to; that of the program itself is ``test``."""
        return _machine.get() or self.machine_called("test")

    # Callbacks of machines that may be stopped

    def call_soon(  # type: ignore[override]  # typeshed spells out the arguments
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """As asyncio's; a stopped machine's callback waits until it goes on."""
        context = context or copy_context()
        if context.get(_machine) is None:
            return super().call_soon(callback, *args, context=context)
        call = _Call(callback, args, context)
        call.handle = super().call_soon(self._run_on_machine, call, context=context)
        return call.handle

    def call_at(  # type: ignore[override]  # typeshed spells out the arguments
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """As asyncio's; a stopped machine's callback waits until it goes on."""
        context = context or copy_context()
        if context.get(_machine) is None:
            return super().call_at(when, callback, *args, context=context)
        call = _Call(callback, args, context)
        handle = super().call_at(when, self._run_on_machine, call, context=context)
        call.handle = handle
        return handle

    def _run_on_machine(self, call: _Call) -> None:
        machine = _machine.get()
        assert call.handle is not None  # noqa: S101 - set when it was booked
        if call.handle.cancelled():
            return
        if machine is not None and machine.paused:
            machine.parked.append(call)
        else:
            call.callback(*call.args)

    def call_unbound(self, delay: float, callback: Callable[..., object], *args: Any) -> None:
        """Have the network do something, whatever becomes of the machine that caused it."""
        super().call_at(self._now + delay, callback, *args, context=_NOBODY)

    def unpark(self, machine: VirtualMachine) -> None:
        """A machine goes on: what it did not do while it was stopped is next."""
        parked, machine.parked = machine.parked, []
        for call in parked:
            super().call_soon(self._run_on_machine, call, context=call.context)

    # asyncio's ways to the outside

    async def create_datagram_endpoint(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], asyncio.DatagramProtocol],
        local_addr: tuple[str, int] | None = None,
        *_: Any,
        sock: Any = None,
        **__: Any,
    ) -> tuple[asyncio.DatagramTransport, asyncio.DatagramProtocol]:
        """A socket for datagrams on the present machine."""
        if sock is None:
            sock = self.here().bind(socket.SOCK_DGRAM, *(local_addr or ("0.0.0.0", 0)))  # noqa: S104
        protocol = protocol_factory()
        return self.wires.open_datagrams(_simulated(sock), protocol), protocol

    async def create_server(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], asyncio.Protocol],
        host: str | None = None,
        port: int | None = None,
        *,
        sock: Any = None,
        **_: Any,
    ) -> VirtualServer:
        """Accept connections on the present machine."""
        if sock is None:
            sock = self.here().bind(socket.SOCK_STREAM, host or "0.0.0.0", port or 0)  # noqa: S104
        return self.wires.listen(_simulated(sock), protocol_factory)

    async def create_connection(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], asyncio.Protocol],
        host: str | None = None,
        port: int | None = None,
        *,
        ssl: Any = None,
        **_: Any,
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        """Connect from the present machine."""
        if host is None or port is None or ssl:
            raise NotImplementedError("a virtual loop connects to a host and port, without TLS")
        infos = await self.getaddrinfo(host, port)
        protocol = protocol_factory()
        transport = await self.wires.connect(self.here(), (infos[0][4][0], port), protocol)
        return transport, protocol

    async def getaddrinfo(self, host: Any, port: Any, **_: Any) -> list[Any]:
        """Addresses, and the names of machines."""
        try:
            ip = str(ipaddress.ip_address(str(host).partition("%")[0]))
        except ValueError:
            machine = self.machines.get(str(host))
            if machine is None and host != "localhost":
                raise socket.gaierror(socket.EAI_NONAME, f"no machine is called {host}") from None
            ip = machine.ip if machine else "127.0.0.1"
        family = socket.AF_INET6 if ":" in ip else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (ip, int(port or 0)))]

    def run_in_executor(  # type: ignore[override]
        self, executor: object, func: Callable[..., _T], *args: Any
    ) -> asyncio.Future[_T]:
        """Run it here, in no time: a thread would live in real time, and make every run differ."""
        del executor
        future: asyncio.Future[_T] = self.create_future()

        def work() -> None:
            if future.cancelled():
                return
            try:
                result = func(*args)
            except Exception as error:  # noqa: BLE001 - whatever it raises is the caller's
                future.set_exception(error)
            else:
                future.set_result(result)

        self.call_soon(work)
        return future


def _simulated(sock: object) -> VirtualSocket:
    if not isinstance(sock, VirtualSocket):
        raise NotImplementedError("a virtual loop takes addresses to bind, not real sockets")
    return sock
