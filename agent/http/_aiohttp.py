"""The server half of aiohttp, without its client half.

Importing any part of aiohttp runs its package's ``__init__``, which loads the client with its connection
pool, cookie jar and two TLS contexts full of root certificates: 6 MiB and an eighth of a second that an
agent never uses. So for the length of these imports the package is an empty one, of which only the
modules that the server asks for are loaded. Afterwards it is taken away again, and a later
``import aiohttp`` gets the whole.
"""

from __future__ import annotations

import contextlib
import sys
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "BaseRequest",
    "HttpVersion10",
    "RequestHandler",
    "Server",
    "StreamResponse",
    "rfc822_formatted_time",
]

_PACKAGE = "aiohttp"


@contextlib.contextmanager
def _server_half() -> Iterator[None]:
    spec = None if _PACKAGE in sys.modules else find_spec(_PACKAGE)
    if spec is None:  # loaded whole already, or missing, which the import will say
        yield
        return
    package = ModuleType(_PACKAGE)
    package.__path__ = spec.submodule_search_locations or []
    package.__dict__["__version__"] = ""  # only the Server header shows it, and ours is another
    sys.modules[_PACKAGE] = package
    try:
        yield
    finally:
        del sys.modules[_PACKAGE]


with _server_half():
    from aiohttp.helpers import rfc822_formatted_time
    from aiohttp.http_writer import HttpVersion10
    from aiohttp.web_protocol import RequestHandler
    from aiohttp.web_request import BaseRequest
    from aiohttp.web_response import StreamResponse
    from aiohttp.web_server import Server
