"""The life of an agent's process: start, banner, signals, exit code.

    SIGINT    leave, unless skip_leave_on_interrupt      SIGTERM   leave if leave_on_terminate
    SIGHUP    read the configuration again               a second SIGINT or SIGTERM: stop at once

Exit code 0 means that the agent left gracefully; anything else is 1.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from agent.agent import Agent
from agent.http.app import HttpServer
from agent.logs import LogHandler, Value, quiet_loop, set_up
from agent.node_id import ensure_node_id
from agent.reload import Reloader
from agent.version import REVISION, VERSION
from agent.watches.watcher import Watches
from gossip.errors import ConfigError, GossipError
from gossip.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agent.config import AgentConfig
    from agent.forward.listener import ForwardListener
    from agent.rpc.server import RpcServer

__all__ = ["banner", "run"]

log = logging.getLogger(__name__)

LEAVE_TIMEOUT = 20.0
"""Seconds for a graceful leave: of each pool it takes the broadcast timeout and the propagate delay at
most, 8 seconds together."""
LOCK_FILE = "agent.lock"
THREADS_END_WITHIN = 1.0
"""Seconds, all together, in which threads that have nothing more to do end by themselves."""


def run(config: AgentConfig, *, reload: Callable[[], AgentConfig] | None = None) -> int:
    """Run an agent until it is told to stop; returns the exit code of the process.

    Args:
        config: its settings.
        reload: reads them again, for SIGHUP; None when they come from nowhere.

    Raises:
        GossipError: it could not start; the text says why.
    """
    handler = set_up(config.log_level, secrets=config.secrets)
    try:
        with _data_dir(config), _pid_file(config.pid_file):
            node_id = ensure_node_id(config)
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                runner.get_loop().set_default_executor(_Threads(thread_name_prefix="asyncio"))
                code = runner.run(_run(config, node_id, handler, reload))
    finally:
        handler.open()
    _end_of_stuck_threads(code)
    return code


async def _run(
    config: AgentConfig,
    node_id: str,
    handler: LogHandler,
    reload: Callable[[], AgentConfig] | None,
) -> int:
    return await _Process(config, node_id, handler, reload).run()


class _Process:
    """One run: what the signals and the agent may end."""

    def __init__(
        self,
        config: AgentConfig,
        node_id: str,
        handler: LogHandler,
        reload: Callable[[], AgentConfig] | None,
    ) -> None:
        self._at_start = config
        self._handler = handler
        self._agent = Agent(config, node_id, logs=handler.watched)
        self._http = HttpServer(self._agent)
        self._watches = self._agent.watches = Watches(self._http.ask)
        self._forward: ForwardListener | None = None
        self._rpc = _rpc_server(self._agent)
        if reload is not None:
            self._agent.reloader = Reloader(self._agent, reload, self._follow_config)
        self._signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
        self._hangup = asyncio.Event()
        self._tasks = Tasks(log)

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(quiet_loop)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._signals.put_nowait, number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # see `agent.commands.agent`
        try:
            await self._start()
            self._tasks.spawn(self._follow_hangups())
            code = await self._wait()
        finally:
            await self._tasks.cancel()
            await self._watches.close()
            await self._http.close()
            if self._forward is not None:
                await self._forward.close()
            if self._rpc is not None:
                await self._rpc.close()
            await self._agent.stop()
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                loop.remove_signal_handler(number)
        log.info("stopped exit=%d", code)
        return code

    async def _start(self) -> None:
        try:
            await self._agent.start()
        except OSError as error:
            raise ConfigError(f"cannot bind the gossip address: {error}") from error
        for warning in self._at_start.warnings(encrypted=self._agent.encrypted):
            log.warning("%s", warning)
        if self._at_start.server and self._at_start.ports.server >= 0:
            await self._take_forwarded()
        try:
            await self._http.start()
        except OSError as error:
            raise ConfigError(f"cannot bind the HTTP address (ports.http): {error}") from error
        if self._rpc is not None:
            try:
                await self._rpc.start()
            except OSError as error:
                raise ConfigError(f"cannot bind rpc_addr: {error}") from error
            log.info("serf's RPC listens address=%s", self._rpc.address)
        self._watches.follow(self._agent.config.watches)
        await self._agent.join_configured()
        self._handler.open(banner(self._agent, self._http.addresses))

    async def _take_forwarded(self) -> None:
        from agent.forward.listener import ForwardListener  # noqa: PLC0415 - only servers

        self._forward = ForwardListener(self._agent)
        try:
            await self._forward.start()
        except OSError as error:
            raise ConfigError(f"cannot bind the server address (ports.server): {error}") from error

    async def _wait(self) -> int:
        """Until a signal or the agent itself ends the run."""
        while True:
            number = await self._signal_or_end()
            if number is None:
                return self._agent.finished.result()
            log.info("caught signal=%s", number.name)
            if number is signal.SIGHUP:
                self._hangup.set()
            elif self._leaves_on(number):
                return await self._leave()
            else:
                return 1

    async def _signal_or_end(self) -> signal.Signals | None:
        waiting = asyncio.ensure_future(self._signals.get())
        ends: set[asyncio.Future[signal.Signals] | asyncio.Future[int]]
        ends = {waiting, self._agent.finished}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if self._agent.finished.done() and not waiting.done():
            waiting.cancel()
            return None
        return waiting.result()

    def _leaves_on(self, number: signal.Signals) -> bool:
        if number is signal.SIGINT:
            return not self._agent.config.skip_leave_on_interrupt
        return self._agent.config.leave_on_terminate

    async def _leave(self) -> int:
        """Leave; a second signal or too long a time ends it with exit code 1."""
        leaving = asyncio.ensure_future(self._agent.leave())
        try:
            async with asyncio.timeout(LEAVE_TIMEOUT):
                while not self._agent.finished.done():
                    number = await self._signal_or_end()
                    if number is not None and number is not signal.SIGHUP:
                        log.warning("second signal, stopping before the leave is told")
                        return 1
        except TimeoutError:
            log.warning("the leave took longer than seconds=%g", LEAVE_TIMEOUT)
            return 1
        finally:
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
        return self._agent.finished.result()

    async def _follow_hangups(self) -> None:
        """Reload once for all hangups since the last look; other signals do not wait for that."""
        while True:
            await self._hangup.wait()
            self._hangup.clear()
            try:
                await self._agent.reload()
            except GossipError as error:
                log.error("configuration not read again error=%s", Value(error))

    def _follow_config(self) -> None:
        """Have everything around the agent follow its configuration, after a reload."""
        config = self._agent.config
        self._handler.set_level(config.log_level)
        # What was read at the start may still be in use: the gossip key, or a client's token.
        self._handler.hide((*self._at_start.secrets, *config.secrets))
        self._http.follow_config()
        self._watches.follow(config.watches)
        if self._forward is not None:
            self._forward.follow_config()


def _rpc_server(agent: Agent) -> RpcServer | None:
    if not agent.config.rpc_addr:
        return None
    from agent.rpc.server import RpcServer  # noqa: PLC0415 - few agents have one

    return RpcServer(agent)


def banner(agent: Agent, http: list[tuple[str, int]]) -> list[str]:
    """What is printed once the agent runs; orchestrators wait for the first line."""
    config = agent.config
    member = agent.cluster.local_member()
    port = http[0][1] if http else -1
    encrypt = "true" if agent.encrypted else "false"
    server = "true" if config.server else "false"
    bootstrap = "true" if config.bootstrap else "false"
    rows = {
        "Version": f"{VERSION} ({REVISION})",
        "Node ID": agent.node_id,
        "Node name": config.node_name,
        "Datacenter": config.datacenter,
        "Server": f"{server} (bootstrap: {bootstrap})",
        "Client Addr": f"{' '.join(config.http_binds) or 'none'} (HTTP: {port}, HTTPS: -1, DNS: -1)",
        "Cluster Addr": f"{member.addr} (LAN: {member.port}, WAN: {agent.wan_port})",
        "Encrypt": f"Gossip: {encrypt}, TLS-Outgoing: false, TLS-Incoming: false",
    }
    lines = [f"{key:>18}: {value}" for key, value in rows.items()]
    return [
        "==> Consul agent running!",
        *lines,
        "",
        "==> Log data will now stream in as it occurs:",
        "",
    ]


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop when it is installed: a third less CPU per packet."""
    try:
        import uvloop  # noqa: PLC0415 - optional
    except ImportError:
        return None
    return uvloop.new_event_loop


class _Threads(ThreadPoolExecutor):
    """Those that the loop asks to look up names and to read files. Its end does not wait for them."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = True) -> None:  # noqa: ARG002, FBT001, FBT002
        """Take no more work."""
        super().shutdown(wait=False, cancel_futures=cancel_futures)


def _end_of_stuck_threads(code: int) -> None:
    """End the process here if threads are left: name servers and disks may keep them for minutes.

    Everything is closed by now, and Python would wait for them.
    """
    stuck, deadline = [], time.monotonic() + THREADS_END_WITHIN
    for thread in threading.enumerate():
        if thread.daemon or thread is threading.current_thread():
            continue
        thread.join(max(deadline - time.monotonic(), 0))
        if thread.is_alive():
            stuck.append(thread.name)
    if stuck:
        log.warning("not waiting for threads=%s", Value(",".join(stuck)))
        logging.shutdown()
        sys.stdout.flush()
        os._exit(code)


@contextlib.contextmanager
def _data_dir(config: AgentConfig) -> Iterator[None]:
    """Make the data directory and hold its lock: two agents in one would share an identity."""
    if not config.data_dir:
        yield
        return
    path = Path(config.data_dir)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"cannot use data_dir {path}: {error.strerror or error}") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(f"data_dir {path} is in use by another agent") from None
        yield
    finally:
        os.close(lock)


@contextlib.contextmanager
def _pid_file(name: str) -> Iterator[None]:
    """Write our process id to a file, and remove the file in the end."""
    if not name:
        yield
        return
    path = Path(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{os.getpid()}", encoding="ascii")
    except OSError as error:
        raise ConfigError(f"cannot write pid_file {path}: {error.strerror or error}") from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
