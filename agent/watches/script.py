"""The handler that is a program: the news on its stdin, their index in ``CONSUL_INDEX``."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from agent.check_runners.output import Tail
from agent.logs import Value
from agent.programs import run_program

if TYPE_CHECKING:
    from agent.watches.plan import ScriptHandler
    from agent.watches.progress import News

__all__ = ["run_handler"]

log = logging.getLogger(__name__)


async def run_handler(handler: ScriptHandler, news: News) -> bool:
    """Run it until it ends; tells whether it succeeded. What it prints goes to the log."""
    output = Tail()
    program = Value(handler.args[0])
    try:
        code = await run_program(
            handler.args,
            output,
            stdin=news.data,
            env={"CONSUL_INDEX": str(news.index)},
        )
    except OSError as error:
        log.error("watch handler cannot run handler=%s error=%s", program, error.strerror or error)
        return False
    if code:
        log.error("watch handler failed handler=%s code=%d", program, code)
    log.debug("watch handler said handler=%s output=%s", program, Value(output.captured()))
    return code == 0
