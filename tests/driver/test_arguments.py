"""Mistakes of an application: each is an error at the call that makes it, and changes nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, cast

import pytest

from gossip import Cluster, Config, ConfigError, GossipError, JoinError, LimitError, UserEvent
from tests.helpers_driver import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.driver.conftest import StartNode

LATER = 5.0
"""Seconds until what would never end has failed."""


def one_node(**settings: Any) -> Config:
    return Config.local("one", **({"bind": "127.0.0.1", "port": 0} | settings))


Call = Callable[[Cluster], object]


async def outcome(call: Call, cluster: Cluster) -> object:
    """What a call gives, coroutine or not."""
    async with asyncio.timeout(LATER):
        result = call(cluster)
        return await result if isinstance(result, Awaitable) else result


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda c: c.join("127.0.0.1"), TypeError, "addresses '127.0.0.1' are str, not a list"),
        (lambda c: c.join([5]), TypeError, "5 is int, not str"),
        (lambda c: c.join([]), JoinError, "no address to join"),
        (lambda c: c.fire(b"deploy"), TypeError, "event name b'deploy' is bytes, not str"),
        (lambda c: c.fire("deploy", "v2"), TypeError, "event payload is str, not bytes"),
        (lambda c: c.fire("\ud800"), LimitError, "cannot be encoded as UTF-8"),
        (lambda c: c.query(5), TypeError, "query name 5 is int, not str"),
        (lambda c: c.query("load", "all"), TypeError, "query payload is str, not bytes"),
        (lambda c: c.query("load", nodes="one"), TypeError, "nodes 'one' are str, not a list"),
        (lambda c: c.query("load", tags={"n": 1}), TypeError, "'n' of tags, 1 is int, not str"),
        (lambda c: c.query("load", relay_factor=1.5), TypeError, "float"),
        (lambda c: c.query("load", timeout=-1), LimitError, "query timeout -1 s is not between"),
        (lambda c: c.set_tags({"port": 80}), ConfigError, "'port' of tags, 80 is int, not str"),
        (lambda c: c.set_tags({"x": "\ud800"}), ConfigError, "cannot be encoded as UTF-8"),
        (lambda c: c.set_tags(None), ConfigError, "tags None are NoneType, not a mapping"),
        (lambda c: c.force_leave(None), TypeError, "name None is NoneType, not str"),
        (lambda c: c.set_reconnect_timeout(None), ConfigError, "reconnect_timeout None"),
        (lambda c: c.subscribe(limit=0), LimitError, "limit 0 is below 1"),
        (lambda c: c.subscribe(limit="9"), TypeError, "limit is str, not int"),
        (lambda c: c.subscribe(kinds=("x",)), TypeError, "('x',) are not a tuple of classes"),
        (lambda c: c.subscribe(on_missed=5), TypeError, "on_missed is int, not a function"),
        (lambda c: c.on_query("load", None), TypeError, "handler is NoneType, not a function"),
        (lambda c: c.keys.install(b"short"), LimitError, "a key of 5 bytes is not 16, 24 or 32"),
        (lambda c: c.keys.use("0123456789abcdef"), TypeError, "key is str, not bytes"),
        (lambda c: c.start(), GossipError, "has been started already"),
    ],
)
async def test_a_mistake_is_told_where_it_is_made_and_changes_nothing(
    start_node: StartNode, call: Call, error: type[Exception], message: str
) -> None:
    cluster = await start_node("one", tags={"role": "web"})
    before = cluster.members(), cluster.stats(), cluster.local_address

    with pytest.raises(error) as caught:
        await outcome(call, cluster)

    assert message in str(caught.value)
    assert (cluster.members(), cluster.stats(), cluster.local_address) == before
    events = cluster.subscribe(kinds=(UserEvent,))
    assert await cluster.fire("still") == 1
    async with asyncio.timeout(LATER):
        assert isinstance(await anext(events), UserEvent)


async def test_what_holds_bytes_is_taken_for_bytes(start_node: StartNode) -> None:
    cluster = await start_node("one")
    events = cluster.subscribe(kinds=(UserEvent,))

    for held in (bytearray(b"v2"), memoryview(b"v3")):
        await cluster.fire("deploy", cast("bytes", held))

    async with asyncio.timeout(LATER):
        fired = [await anext(events), await anext(events)]
    assert [event.payload for event in fired if isinstance(event, UserEvent)] == [b"v2", b"v3"]


CHANGES = [
    lambda c: c.join(["127.0.0.1"]),
    lambda c: c.force_leave("two"),
    lambda c: c.fire("deploy"),
    lambda c: c.query("load"),
    lambda c: c.set_tags({}),
    lambda c: c.set_reconnect_timeout(60.0),
    lambda c: c.keys.list(),
    lambda c: c.start(),
]


@pytest.mark.parametrize("call", CHANGES)
async def test_a_closed_cluster_refuses_what_it_would_never_do(call: Call) -> None:
    async with Cluster(one_node()) as cluster:
        pass

    with pytest.raises(GossipError, match="the cluster is closed"):
        await outcome(call, cluster)


async def test_a_subscription_to_a_closed_cluster_is_at_its_end() -> None:
    async with Cluster(one_node()) as cluster:
        pass

    async with asyncio.timeout(LATER):
        assert [event async for event in cluster.subscribe()] == []


@pytest.mark.parametrize("call", CHANGES[:-1])
async def test_another_event_loop_is_refused(start_node: StartNode, call: Call) -> None:
    cluster = await start_node("one")

    with pytest.raises(GossipError, match="only on the event loop that started it"):
        await asyncio.to_thread(lambda: asyncio.run(outcome(call, cluster)))


@pytest.mark.parametrize("rounds", range(12))
async def test_a_join_ends_when_the_cluster_is_closed_in_its_middle(
    start_node: StartNode, rounds: int
) -> None:
    one, two = await start_node("one"), await start_node("two")
    joining = asyncio.create_task(two.join([f"127.0.0.1:{one.local_address[1]}"]))
    for _ in range(rounds):
        await asyncio.sleep(0)

    await two.close()

    async with asyncio.timeout(LATER):
        ended = (await asyncio.gather(joining, return_exceptions=True))[0]
    assert ended == 1 or isinstance(ended, GossipError)


async def test_a_member_that_left_joins_no_more(start_node: StartNode) -> None:
    one, two = await start_node("one"), await start_node("two", leave_propagate_delay=0.01)
    await two.leave()

    with pytest.raises(JoinError, match="has left"):
        await two.join([f"127.0.0.1:{one.local_address[1]}"])


async def test_a_subscriber_whose_callback_fails_costs_the_others_nothing(
    start_node: StartNode, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = await start_node("one")

    def fail() -> None:
        raise RuntimeError("of the application")

    cluster.subscribe(limit=1, on_missed=fail)
    reader = cluster.subscribe(kinds=(UserEvent,))

    await cluster.fire("first")
    await cluster.fire("second")

    async with asyncio.timeout(LATER):
        names = [event.name for event in [await anext(reader), await anext(reader)]
                 if isinstance(event, UserEvent)]  # fmt: skip
        await cluster.leave()
    assert names == ["first", "second"]
    assert "on_missed of a subscription failed" in caplog.text


async def asynchronous(_members: object) -> None:
    """A rule that is no plain function."""


def failing(_members: object) -> None:
    raise RuntimeError("of the application")


@pytest.mark.parametrize("admit", [failing, asynchronous])
async def test_a_rule_about_members_that_fails_refuses_them_and_is_logged_once(
    start_node: StartNode, caplog: pytest.LogCaptureFixture, admit: Any
) -> None:
    other = await start_node("other")
    async with Cluster(one_node(), admit=admit) as picky:
        await other.join([f"127.0.0.1:{picky.local_address[1]}"])  # it is not told, as with Serf
        with pytest.raises(JoinError, match="the rule about members failed"):
            await picky.join([f"127.0.0.1:{other.local_address[1]}"])

        assert [member.name for member in picky.members()] == ["one"]
    failures = [record for record in caplog.records if record.exc_info]
    assert [record.name for record in failures] == ["gossip.admission"]


@pytest.mark.parametrize("rounds", range(4))
async def test_closing_while_starting_leaves_no_socket_and_no_thread(
    tmp_path: Path, rounds: int
) -> None:
    cluster = Cluster(one_node(), snapshot=tmp_path / "pool")
    starting = asyncio.create_task(cluster.start())
    for _ in range(rounds):
        await asyncio.sleep(0)

    await cluster.close()

    with pytest.raises(GossipError, match="closed"):
        await starting
    await until(lambda: all(thread.name != "snapshot" for thread in threading.enumerate()))


async def test_a_subscription_ends_with_its_block(start_node: StartNode) -> None:
    cluster = await start_node("one")

    async with cluster.subscribe(kinds=(UserEvent,)) as events:
        await cluster.fire("kept")
        async with asyncio.timeout(LATER):
            assert isinstance(await anext(events), UserEvent)
    await cluster.fire("later")

    assert [event async for event in events] == []


async def test_files_may_be_named_by_text(tmp_path: Path) -> None:
    snapshot, keyring = tmp_path / "pool", tmp_path / "keyring"
    config = one_node(keys=(bytes(16),))
    async with Cluster(config, snapshot=str(snapshot), keyring_file=str(keyring)):
        pass

    assert [await asyncio.to_thread(path.exists) for path in (snapshot, keyring)] == [True, True]
