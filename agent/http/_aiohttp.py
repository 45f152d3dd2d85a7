"""The server half of aiohttp, without its client half.

Importing any part of aiohttp runs the `__init__` of the package, which imports the client: a sixth of
the time, a tenth of the agent's memory and two TLS contexts with all of the system's root
certificates, none of which an agent uses. So the package is made known without running its `__init__`,
and what we need is imported from it. The `__init__` runs when somebody in this process asks for
anything that only it defines, such as `aiohttp.ClientSession`, or when an aiohttp comes along whose
server cannot do without.
"""

from __future__ import annotations

import re
import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import Any

__all__ = [
    "BaseRequest",
    "RequestHandler",
    "Response",
    "Server",
    "StreamResponse",
]


def _import_server_half() -> None:
    spec = find_spec("aiohttp")
    if spec is None or spec.loader is None or spec.origin is None:
        return  # the import below tells what is wrong
    package, loader = module_from_spec(spec), spec.loader
    namespace = vars(package)

    def complete(name: str) -> Any:
        """The package's `__getattr__` until its `__init__` has run."""
        namespace.pop("__getattr__", None)
        loader.exec_module(package)
        return getattr(package, name)

    # The one name that the server takes from the package itself.
    version = re.search(
        r'^__version__ = "(.+)"', Path(spec.origin).read_text("utf-8"), re.MULTILINE
    )
    namespace["__version__"] = version[1] if version else ""
    sys.modules["aiohttp"] = package
    try:
        import_module("aiohttp.web_server")
    except (ImportError, AttributeError):
        complete("__version__")
    else:
        namespace["__getattr__"] = complete


if "aiohttp" not in sys.modules:
    _import_server_half()

from aiohttp.web_protocol import RequestHandler  # noqa: E402 - what is above makes these cheap
from aiohttp.web_request import BaseRequest  # noqa: E402
from aiohttp.web_response import Response, StreamResponse  # noqa: E402
from aiohttp.web_server import Server  # noqa: E402
