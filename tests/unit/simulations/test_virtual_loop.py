"""The event loop in virtual time: its clock, its machines, and what passes between them."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import TYPE_CHECKING, Any, TypeVar

import asyncio_dgram
import pytest

from simulations.virtual import StalledError, VirtualLoop
from simulations.virtual.loop import START
from simulations.virtual.wires import MAX_BACKLOG

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")


def run(work: Callable[[VirtualLoop], Coroutine[Any, Any, T]], **settings: Any) -> T:
    """Run a coroutine under a loop of its own."""
    loop = VirtualLoop(**settings)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(work(loop))


def test_sleeping_takes_no_time() -> None:
    async def work(loop: VirtualLoop) -> float:
        await asyncio.sleep(100_000)
        return loop.time()

    started = time.monotonic()
    assert run(work, limit=1e6) == START + 100_000
    assert time.monotonic() - started < 10


def test_timers_fire_in_order_and_deadlines_hold() -> None:
    async def work(loop: VirtualLoop) -> list[float]:
        fired: list[float] = []
        for delay in (3.0, 1.0, 2.0):
            loop.call_later(delay, fired.append, delay)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.5):
                await asyncio.Event().wait()
        return [*fired, loop.time() - START]

    assert run(work) == [1.0, 2.0, 2.5]


def test_waiting_for_what_cannot_come_is_an_error_that_says_where() -> None:
    async def work(loop: VirtualLoop) -> None:
        await loop.create_future()

    with pytest.raises(StalledError, match=r"(?s)nothing is left to happen.*test_virtual_loop\.py"):
        run(work)


def test_a_program_that_does_not_end_is_stopped_at_the_limit() -> None:
    async def work(_loop: VirtualLoop) -> None:
        while True:  # noqa: ASYNC110 - it never ends
            await asyncio.sleep(1)

    with pytest.raises(StalledError, match="not over at 50 virtual s"):
        run(work, limit=50)


def test_a_paused_machine_does_what_it_missed_when_it_goes_on_but_nothing_cancelled() -> None:
    async def work(loop: VirtualLoop) -> list[Any]:
        machine, did = loop.machine_called("web"), list[Any]()

        async def program() -> None:
            try:
                async with asyncio.timeout(5):
                    await asyncio.sleep(3)
                    did.append(("slept", loop.time() - START))
                    await asyncio.sleep(0)
            except TimeoutError:
                did.append("timed out")
            cancelled = loop.call_later(10, did.append, "cancelled")
            loop.call_later(9.5, cancelled.cancel)
            loop.call_later(11, did.append, "not cancelled")

        with loop.on_machine(machine):
            task = asyncio.create_task(program())
        await asyncio.sleep(1)
        machine.pause()
        await asyncio.sleep(3)
        assert did == []
        machine.resume()
        await task
        machine.pause()
        await asyncio.sleep(20)
        machine.resume()
        await asyncio.sleep(1)
        return did

    assert run(work) == [("slept", 4.0), "not cancelled"]


def test_executors_work_at_once_and_pass_errors_on() -> None:
    async def work(_loop: VirtualLoop) -> int:
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 // 0)
        return await asyncio.to_thread(len, "four")

    assert run(work) == 4


def test_datagrams_of_others_pass_and_those_of_a_paused_machine_wait_within_a_bound() -> None:
    async def work(loop: VirtualLoop) -> tuple[bytes, int, int]:
        machine = loop.machine_called("sink")
        with loop.on_machine(machine):
            sink = await asyncio_dgram.bind(("0.0.0.0", 53))
        source = await asyncio_dgram.bind(("0.0.0.0", 0))
        await source.send(b"first", (machine.ip, 53))
        data, _ = await sink.recv()
        machine.pause()
        for _ in range(MAX_BACKLOG + 10):
            await source.send(b"x", (machine.ip, 53))
        await source.send(b"nobody", ("10.9.9.9", 53))
        await asyncio.sleep(1)
        machine.resume()
        got = 0
        while True:
            try:
                async with asyncio.timeout(1):
                    await sink.recv()
            except TimeoutError:
                break
            got += 1
        sink.close()
        source.close()
        await asyncio.sleep(0)
        return data, got, loop.covered["packets_overflowed"]

    assert run(work) == (b"first", MAX_BACKLOG, 10)


def test_a_reset_reaches_the_other_end() -> None:
    async def work(loop: VirtualLoop) -> None:
        def reset(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.transport.abort()

        with loop.on_machine(loop.machine_called("server")):
            server = await asyncio.start_server(reset, port=80)
        reader, writer = await asyncio.open_connection("server", 80)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        async with server:
            assert server.is_serving()
        assert not server.is_serving()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("server", 80)

    run(work)


def test_a_slow_reader_gets_everything_in_order() -> None:
    async def work(loop: VirtualLoop) -> bytes:
        async def send(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for number in range(50):
                writer.write(bytes([number]) * 20_000)
                await writer.drain()
            writer.close()
            await writer.wait_closed()

        with loop.on_machine(loop.machine_called("server")):
            server = await asyncio.start_server(send, port=80)
        reader, writer = await asyncio.open_connection("server", 80, limit=1000)
        read = b""
        while data := await reader.read(5000):
            read += data
            await asyncio.sleep(0.01)
        writer.close()
        server.close()
        return read

    assert run(work) == b"".join(bytes([number]) * 20_000 for number in range(50))


def test_names_are_those_of_machines() -> None:
    async def work(loop: VirtualLoop) -> list[str]:
        machine = loop.machine_called("web")
        with pytest.raises(socket.gaierror, match="no machine is called nowhere"):
            await loop.getaddrinfo("nowhere", 80)
        found = [await loop.getaddrinfo(name, 80) for name in ("web", "localhost", "::1")]
        assert found[0][0][4] == (machine.ip, 80)
        return [infos[0][4][0] for infos in found[1:]]

    assert run(work) == ["127.0.0.1", "::1"]


def test_real_sockets_are_refused() -> None:
    async def work(loop: VirtualLoop) -> None:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as real,
            pytest.raises(NotImplementedError, match="not real sockets"),
        ):
            await loop.create_datagram_endpoint(asyncio.DatagramProtocol, sock=real)

    run(work)
