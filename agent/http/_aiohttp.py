"""The server half of aiohttp, without the certificate store of its client half.

Importing any part of aiohttp builds two TLS contexts for its client and reads the system's root
certificates into them: 2 MiB and a tenth of a second that an agent never uses. OpenSSL takes the place
of that store from the environment, so for the length of the import it points nowhere. A client that
wants to check certificates in this process brings its own context.
"""

from __future__ import annotations

import os

__all__ = [
    "BaseRequest",
    "RequestHandler",
    "Response",
    "Server",
    "StreamResponse",
]

_NOWHERE = {"SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": os.devnull}
_before = {name: os.environ.get(name) for name in _NOWHERE}
os.environ.update(_NOWHERE)
try:
    from aiohttp.web_protocol import RequestHandler
    from aiohttp.web_request import BaseRequest
    from aiohttp.web_response import Response, StreamResponse
    from aiohttp.web_server import Server
finally:
    for _name, _value in _before.items():
        if _value is None:
            del os.environ[_name]
        else:
            os.environ[_name] = _value
