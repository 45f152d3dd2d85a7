"""Our bare node behind the interface that the figures use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from simulations.bench.lab import Lab
from simulations.bench.news import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FIGURES_NEED = 10.0
"""Seconds that each step may take at most here."""


def lab(size: int) -> Lab:
    return Lab(size, seconds=0.1, trials=1, say=ignore, traffic=None)


def ignore(_text: str) -> None:
    """Progress is for people."""


async def test_nodes_join_hear_an_event_and_see_one_leave() -> None:
    async with lab(3).pool("node") as pool:
        one, two, three = pool.agents

        await two.fire("deploy", b"v2")
        assert await pool.until(
            heard(pool.reported, Kind.EVENT, "deploy", pool.agents), FIGURES_NEED
        )

        await three.leave()
        assert await pool.until(
            heard(pool.reported, Kind.LEFT, three.name, [one, two]), FIGURES_NEED
        )
        assert await three.process.wait(FIGURES_NEED) == 0

        assert one.news.alive() == 2


def heard(
    reported: Callable[..., list[float]], kind: Kind, subject: str, observers: Sequence[object]
) -> Callable[[], bool]:
    return lambda: len(reported(kind, subject, observers)) == len(observers)


async def test_a_join_that_fails_is_told_with_its_reason() -> None:
    async with lab(1).pool("node", joined=False) as pool:
        with pytest.raises(OSError, match=r"join: .*127\.0\.0\.1:1"):
            await pool.agents[0].join(("127.0.0.1", 1))
