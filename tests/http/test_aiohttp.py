"""The server half of aiohttp is imported alone, and the rest is there for who asks for it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def output_of(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_an_agent_loads_neither_aiohttps_client_nor_its_certificates() -> None:
    code = (
        "import sys, agent.run; "
        "print([n for n in ('aiohttp.client', 'aiohttp.connector') if n in sys.modules])"
    )

    assert output_of(code) == "[]"


def test_all_of_aiohttp_can_be_used_beside_the_server_half() -> None:
    code = (
        "from agent.http._aiohttp import Response\n"
        "import aiohttp\n"
        "assert not hasattr(aiohttp, 'nothing')\n"
        "assert aiohttp.ClientSession is aiohttp.client.ClientSession\n"
        "from aiohttp import web\n"
        "print(web.Response is Response)"
    )

    assert output_of(code) == "True"


def test_an_aiohttp_imported_before_stays_as_it_is() -> None:
    code = (
        "import aiohttp\n"
        "from agent.http import _aiohttp\n"
        "from aiohttp import web\n"
        "print(sys.modules['aiohttp'] is aiohttp and web.Server is _aiohttp.Server)"
    )

    assert output_of(f"import sys\n{code}") == "True"


def test_a_server_that_needs_the_whole_package_gets_it(tmp_path: Path) -> None:
    package = tmp_path / "aiohttp"
    package.mkdir()
    (package / "__init__.py").write_text("__version__ = '9.0'\nneeded = object\n")
    (package / "web_protocol.py").write_text("class RequestHandler: ...\n")
    (package / "web_request.py").write_text("class BaseRequest: ...\n")
    (package / "web_response.py").write_text("class Response: ...\nclass StreamResponse: ...\n")
    (package / "web_server.py").write_text("from . import needed\nclass Server(needed): ...\n")
    code = "from agent.http._aiohttp import Server; import aiohttp; print(aiohttp.__version__)"

    assert output_of(code, PYTHONPATH=str(tmp_path)) == "9.0"
