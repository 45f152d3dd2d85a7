"""A server that stops closes the connections that it has accepted, wherever they are on their way."""

from __future__ import annotations

import asyncio
import gc
import socket
from typing import TYPE_CHECKING

import pytest
import uvloop

from gossip.sockets import bound_socket, stop_listening

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("turns", range(8))
@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_connection_on_its_way_in_is_closed(
    turns: int, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def stop_while_a_client_connects() -> None:
        listening = bound_socket(socket.SOCK_STREAM, "127.0.0.1", 0)
        server = await asyncio.start_server(
            lambda _, writer: writer.transport.abort(), sock=listening
        )
        with socket.create_connection(listening.getsockname()):
            for _ in range(turns):
                await asyncio.sleep(0)
            await stop_listening(server)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(stop_while_a_client_connects())

    gc.collect()  # a socket that was not closed complains here, which is an error in these tests
