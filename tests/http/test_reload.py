"""Reload: what changes while the agent runs, what is only named, and that mistakes change nothing."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from agent.config import AgentConfig, GossipTuning, HttpConfig, Limits, Ports
from agent.reload import Reloader, take_over
from gossip.errors import ConfigError, GossipError
from gossip.events import MemberStatus
from tests.helpers_agent import WAN, TestAgent, eventually, running
from tests.http.test_process import client, started

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOURS = 3600.0
NOWHERE = "127.0.0.1:1"


def reloadable(one: TestAgent, read: Callable[[], AgentConfig]) -> None:
    """Let an agent read its configuration again."""
    one.agent.reloader = Reloader(one.agent, read, one.http.follow_config)


async def reload(one: TestAgent, **changes: Any) -> list[str]:
    """Reload with some settings changed; gives what needs a restart."""
    config = one.agent.config.replace(**changes)
    reloadable(one, lambda: config)
    answer = await one.put("/v1/agent/reload")
    assert (answer.status, answer.text) == (200, "")
    named = answer.headers.get("x-restart-needed", "")
    return named.split(", ") if named else []


def names(one: TestAgent) -> set[str]:
    return {member.name for member in one.agent.cluster.members()}


# What changes


async def test_an_unchanged_configuration_names_nothing_and_changes_nothing() -> None:
    async with running() as one:
        before, version = one.agent.config, one.agent.cluster.members_version

        assert await reload(one) == []

        assert one.agent.config == before
        assert one.agent.cluster.members_version == version


async def test_rules_and_limits_of_the_http_interface() -> None:
    async with running() as one:
        held = await asyncio.open_connection("127.0.0.1", one.port)
        await eventually(lambda: len(one.http.gate) == 1)
        assert (
            await reload(
                one,
                strict_http_methods=True,
                limits=Limits(http_max_conns_per_client=1),
                http_config=HttpConfig(response_headers={"X-Ours": "1"}),
            )
            == []
        )

        refused = await one.get("/v1/agent/self")
        held[1].close()
        await eventually(lambda: len(one.http.gate) == 0)
        answer = await one.get("/v1/agent/force-leave/nobody")

    assert refused.status == 429
    assert (answer.status, answer.headers["x-ours"]) == (405, "1")


async def test_how_long_failed_members_are_kept_in_each_pool() -> None:
    async with running(**WAN) as one:
        changes = {"reconnect_timeout": 9 * HOURS, "reconnect_timeout_wan": 10 * HOURS}
        assert await reload(one, **changes) == []

        assert one.agent.wan is not None
        pools = (one.agent.lan, one.agent.wan)
        assert [pool.cluster.node.members.reconnect_timeout for pool in pools] == [
            9 * HOURS,
            10 * HOURS,
        ]


async def test_tokens_and_what_signals_do() -> None:
    async with running() as one:
        changes: dict[str, Any] = {
            "acl_token": "t0psecret",
            "rpc_auth": "0ther-secret",
            "leave_on_terminate": False,
            "skip_leave_on_interrupt": True,
            "strict_merge": True,
            "retry_max": 7,
            "retry_interval": 5.0,
        }
        assert await reload(one, **changes) == []

        assert one.agent.config == one.agent.config.replace(**changes)
        assert "secret" not in (await one.get("/v1/agent/self")).text


@pytest.mark.parametrize("key", ["start_join", "retry_join"])
async def test_new_addresses_are_joined_at_once_in_company_too(key: str) -> None:
    async with running("one") as one, running("two") as two, running("three") as three:
        await one.agent.join(three.gossip)

        assert await reload(one, **{key: (two.gossip,)}) == []

        await eventually(lambda: names(one) == {"one", "two", "three"})
        assert one.agent.seeds.addresses == (two.gossip,)


async def test_new_servers_are_joined_in_the_wan_pool() -> None:
    async with running("one", **WAN) as one, running("two", datacenter="dc2", **WAN) as two:
        assert await reload(one, start_join_wan=(two.wan_gossip,)) == []

        await eventually(lambda: one.agent.datacenters() == ["dc1", "dc2"])


async def test_new_addresses_that_do_not_answer_are_a_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running() as one:
        assert await reload(one, start_join=(NOWHERE,), retry_max=1) == []

        await eventually(lambda: "new addresses do not answer" in caplog.text)
        assert not one.agent.finished.done()


async def test_a_search_that_goes_on_at_start_begins_again_with_what_was_read() -> None:
    settings: dict[str, Any] = {"retry_join": (NOWHERE,), "retry_interval": 600.0}
    async with running("two") as two, running("one", **settings) as one:
        await one.agent.join_configured()
        await eventually(lambda: one.agent.seeds.isolated)

        assert await reload(one, retry_join=(two.gossip,)) == []

        await eventually(lambda: names(one) == {"one", "two"})
        assert not one.agent.seeds.isolated


async def test_a_search_that_goes_on_gives_up_as_often_as_is_said_now() -> None:
    async with running(retry_join=(NOWHERE,), retry_interval=600.0) as one:
        await one.agent.join_configured()
        await eventually(lambda: one.agent.seeds.isolated)

        assert await reload(one, retry_interval=0.01, retry_max=2) == []

        await eventually(one.agent.finished.done)
        assert one.agent.finished.result() == 1


async def test_a_reload_while_the_addresses_at_start_are_joined_leaves_one_search() -> None:
    async with running("two") as two, running("one", start_join=(two.gossip,)) as one:
        joining = asyncio.ensure_future(one.agent.join_configured())
        assert await reload(one, retry_join=(two.gossip, NOWHERE)) == []
        await joining

        await eventually(lambda: names(one) == {"one", "two"})
        searches = [t for t in one.agent.lan._tasks._running if "stay" in repr(t.get_coro())]
        await eventually(lambda: sum(not task.done() for task in searches) == 1)


# What needs a restart


async def test_what_needs_a_restart_is_named_by_its_key_stays_and_shows_no_secret(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running() as one:
        before = one.agent.config
        key = "MTIzNDU2Nzg5MDEyMzQ1Ng=="

        named = await reload(
            one,
            datacenter="east",
            encrypt=key,
            ports=Ports(http=1, serf_lan=0),
            gossip_lan=GossipTuning(probe_interval=2.0),
            log_level="ERR",
        )

        assert named == ["datacenter", "ports.http", "encrypt", "gossip_lan.probe_interval"]
        assert one.agent.config == before.replace(log_level="ERR")
        assert "keys=datacenter,ports.http,encrypt,gossip_lan.probe_interval" in caplog.text
        assert key not in caplog.text


# Mistakes


async def test_tags_that_the_pool_refuses_change_nothing_at_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def refuse(_tags: object) -> None:
        raise ConfigError("tags take 513 bytes, more than 512")

    async with running(**WAN) as one:
        before, seeds = one.agent.config, one.agent.seeds.settings
        kept_for = one.agent.cluster.node.members.reconnect_timeout
        config = before.replace(
            tags={"x": "y"},
            retry_join=(NOWHERE,),
            reconnect_timeout=9 * HOURS,
            strict_http_methods=True,
        )
        reloadable(one, lambda: config)
        monkeypatch.setattr(one.agent.cluster, "set_tags", refuse)

        answer = await one.put("/v1/agent/reload")

        assert (answer.status, answer.text) == (500, "tags take 513 bytes, more than 512")
        assert (one.agent.config, one.agent.seeds.settings) == (before, seeds)
        assert one.agent.cluster.node.members.reconnect_timeout == kept_for
        assert one.agent.wan is not None
        assert "x" not in one.agent.wan.cluster.local_member().tags
        assert (await one.get("/v1/agent/force-leave/nobody")).status == 200


async def test_what_may_change_has_to_go_together_with_what_may_not() -> None:
    async with running(rpc_addr="0.0.0.0:7373", rpc_auth="s3cret-key") as one:
        config = one.agent.config.replace(rpc_addr="127.0.0.1:7373", rpc_auth="", log_level="ERR")

        with pytest.raises(ConfigError, match="rpc_auth"):
            await take_over(one.agent, config)

        assert (one.agent.config.rpc_auth, one.agent.config.log_level) == ("s3cret-key", "WARN")


async def test_an_agent_that_leaves_takes_nothing_over() -> None:
    async with running() as one:
        await one.agent.leave()
        before = one.agent.config

        with pytest.raises(GossipError, match="the agent is leaving"):
            await take_over(one.agent, before.replace(tags={"a": "b"}))

        assert one.agent.config == before
        assert one.agent.cluster.local_member().status is MemberStatus.LEFT


async def test_without_a_configuration_to_read_a_reload_says_so() -> None:
    async with running() as one:
        answer = await one.put("/v1/agent/reload")

    assert (answer.status, answer.text) == (500, "there is no configuration to read again")


# Several at once


async def test_reloads_at_once_are_one_after_the_other_and_the_last_read_is_in_force() -> None:
    async with running() as one:
        reading, go_on = threading.Lock(), threading.Event()
        numbers = iter(range(1, 9))

        def read() -> AgentConfig:
            assert reading.acquire(blocking=False), "two read at once"
            try:
                assert go_on.wait(10)
                return one.agent.config.replace(tags={"n": str(next(numbers))})
            finally:
                reading.release()

        reloadable(one, read)
        asking = asyncio.gather(*(one.put("/v1/agent/reload") for _ in range(8)))
        await eventually(lambda: len(one.http.endpoints.writes) == 8)
        go_on.set()
        answers = await asking

        assert [answer.status for answer in answers] == [200] * 8
        assert one.agent.config.tags == {"n": "8"}
        assert one.agent.cluster.local_member().tags["n"] == "8"


async def test_a_reload_goes_on_without_its_client() -> None:
    async with running() as one:
        begun, go_on = threading.Event(), threading.Event()
        config = one.agent.config.replace(tags={"a": "b"})

        def read() -> AgentConfig:
            begun.set()
            assert go_on.wait(10)
            return config

        reloadable(one, read)
        asking = asyncio.ensure_future(one.put("/v1/agent/reload"))
        await eventually(begun.is_set)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await eventually(lambda: len(one.http.gate) == 0)
        go_on.set()

        await eventually(lambda: one.agent.config == config)


# A process


def test_a_hangup_reloads_and_what_signals_do_follows(tmp_path: Path) -> None:
    settings = tmp_path / "settings.json"
    settings.write_text('{"retry_join": ["127.0.0.1:1"], "log_level": "INFO"}')
    with started(*client(tmp_path, f"-config-file={settings}")) as agent:
        agent.until("join failed attempt=1")
        with started("-bind=127.0.0.1", f"-data-dir={tmp_path / 'two'}", "-node=two") as two:
            two.until("Log data")
            changes = {
                "retry_join": [f"127.0.0.1:{two.lan_port}"],
                "leave_on_terminate": False,
                "acl_token": "t0psecret",
                "log_level": "DEBUG",
                "ports": {"dns": 8600},
            }
            settings.write_text(json.dumps(changes))
            agent.process.send_signal(signal.SIGHUP)
            agent.until(r"keys=ports\.dns$")
            agent.until("joined nodes=1 attempt=1")
            agent.get("/v1/agent/self?say=t0psecret")
            agent.until("url=.*say=<hidden>")

            settings.unlink()
            agent.process.send_signal(signal.SIGHUP)
            agent.until("configuration not read again .*No such file")
            settings.mkdir()
            agent.process.send_signal(signal.SIGHUP)
            agent.until("configuration not read again .*Is a directory")

            code, out, err = agent.end(signal.SIGTERM)
    assert (code, err) == (1, "")  # it did not leave
    assert "t0psecret" not in "\n".join([*agent.lines, out])


def test_other_signals_do_not_wait_for_a_reload(tmp_path: Path) -> None:
    settings = tmp_path / "settings.json"
    settings.write_text("{}")
    with started(*client(tmp_path, f"-config-file={settings}")) as agent:
        agent.until("Log data")
        settings.unlink()
        os.mkfifo(settings)  # nobody writes to it, so nobody can read it
        agent.process.send_signal(signal.SIGHUP)
        writer = open_when_read(settings)
        agent.process.send_signal(signal.SIGTERM)
        agent.until("leaving the pool")
        os.write(writer, b"{}")
        os.close(writer)

        assert agent.end()[0] == 0


def open_when_read(fifo: Path) -> int:
    """The writing end of a FIFO, once somebody reads it."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
