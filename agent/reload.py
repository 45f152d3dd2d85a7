"""Reload: take over what the configuration says now, as far as it may change while the agent runs.

    read, in a thread --> judge what would be in force --> announce tags --> in force --> follow
        '------ a mistake up to here changes nothing -------'

Everything from the judgement on happens in one go: nothing is awaited that waits, so no request, signal
or second reload sees half of it. What changed and cannot be taken over stays as it was, and is named
to whoever asked.

The gossip pools keep their tuning and their choice of coordinates: members agree on these, and the
timers that run were made with them.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from agent.seeds import SeedSettings
from gossip.errors import GossipError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agent.agent import Agent
    from agent.config import AgentConfig

__all__ = ["RELOADABLE", "Reloader", "take_over"]

log = logging.getLogger(__name__)

RELOADABLE = frozenset({
    "acl_token",
    "checks",
    "enable_local_script_checks",
    "enable_script_checks",
    "http_config",
    "leave_on_terminate",
    "limits",
    "log_level",
    "node_meta",
    "reconnect_timeout",
    "reconnect_timeout_wan",
    "retry_interval",
    "retry_interval_wan",
    "retry_join",
    "retry_join_wan",
    "retry_max",
    "retry_max_wan",
    "rpc_auth",
    "services",
    "skip_leave_on_interrupt",
    "start_join",
    "start_join_wan",
    "strict_http_methods",
    "strict_merge",
    "tags",
    "watches",
})  # fmt: skip
"""Settings, or blocks of them, that change while the agent runs; the others need a restart."""


class Reloader:
    """Reads the configuration of one agent again, one time after the other.

    Args:
        agent: takes it over.
        read: reads it; called in a thread. Raises `ConfigError` with every mistake.
        follow: has what the agent does not own follow its configuration; called after each reload.
    """

    def __init__(
        self, agent: Agent, read: Callable[[], AgentConfig], follow: Callable[[], None]
    ) -> None:
        self._agent = agent
        self._read = read
        self._follow = follow
        self._turn = asyncio.Lock()

    async def reload(self) -> list[str]:
        """Read the configuration and take over what may change.

        Returns:
            Keys that changed and need a restart, such as ``ports.http``.

        Raises:
            GossipError: it has mistakes, or the agent is leaving; nothing was changed.
        """
        async with self._turn:  # what was read last is to be in force last
            config = await asyncio.to_thread(self._read)
            restart = await take_over(self._agent, config)
            self._follow()
        log.info("configuration read again log_level=%s", config.log_level)
        if restart:
            log.warning("settings that need a restart were changed keys=%s", ",".join(restart))
        return restart


async def take_over(agent: Agent, config: AgentConfig) -> list[str]:
    """Put in force what may change while an agent runs.

    Args:
        agent: has been started.
        config: what the configuration says now.

    Returns:
        Keys that changed and need a restart; they stay as they were.

    Raises:
        ConfigError: what may change does not go together with what may not, or the tags do not fit;
            nothing was changed.
        GossipError: the agent is leaving; nothing was changed.
    """
    if agent.leaving:
        raise GossipError("the agent is leaving")
    old = agent.config
    changed = list(_changed(old, config))
    in_force = old.replace(**{key: getattr(config, key) for key in RELOADABLE})
    if in_force.tags != old.tags:
        await agent.announce(in_force)
    agent.config = in_force
    agent.local.follow(in_force)
    if in_force.node_meta != old.node_meta:
        agent.sync.compare_soon()
    agent.lan.follow(SeedSettings.of(in_force), in_force.reconnect_timeout)
    if agent.wan is not None:
        agent.wan.follow(SeedSettings.of(in_force, "_wan"), in_force.reconnect_timeout_wan)
    return [key for key in changed if key.partition(".")[0] not in RELOADABLE]


def _changed(old: Any, new: Any, prefix: str = "") -> Iterator[str]:
    """The keys whose values differ, as a file would name them."""
    for field in fields(old):
        was, now = getattr(old, field.name), getattr(new, field.name)
        if was == now:
            continue
        if is_dataclass(was):
            yield from _changed(was, now, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}"
