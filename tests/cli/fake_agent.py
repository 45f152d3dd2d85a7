"""A small agent for the command line to talk to: the documented API over standard library sockets."""

from __future__ import annotations

import base64
import json
import threading
import uuid
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


def member(name: str, status: int = 1, **tags: str) -> dict[str, Any]:
    """A member as ``/v1/agent/members`` shows it, by default a client of dc1."""
    tags = {
        "role": "node",
        "dc": "dc1",
        "segment": "",
        "vsn": "2",
        "build": "0.1.0:pygossip",
    } | tags
    return {
        "Name": name,
        "Addr": "127.0.0.1",
        "Port": 8301,
        "Tags": {key: value for key, value in tags.items() if value != "-"},
        "Status": status,
        "ProtocolMin": 1,
        "ProtocolMax": 5,
        "ProtocolCur": 2,
        "DelegateMin": 2,
        "DelegateMax": 5,
        "DelegateCur": 4,
    }


def event(number: int, name: str = "deploy", payload: bytes = b"") -> dict[str, Any]:
    """An event as ``/v1/event/list`` shows it."""
    return {
        "ID": str(uuid.UUID(int=0x1000 + number)),
        "Name": name,
        "Payload": base64.b64encode(payload).decode() if payload else None,
        "NodeFilter": "",
        "ServiceFilter": "",
        "TagFilter": "",
        "Version": 1,
        "LTime": number,
    }


def event_index(events: list[dict[str, Any]]) -> int:
    """The index of a list: both halves of the last id, XORed; 1 when it is empty."""
    number = uuid.UUID(events[-1]["ID"]).int if events else 0
    return number >> 64 ^ number & (2**64 - 1) if events else 1


@dataclass
class Request:
    """What arrived."""

    method: str
    path: str
    query: dict[str, str]
    body: bytes
    token: str | None


@dataclass
class Answer:
    """What to send; `drop` closes the connection instead."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    drop: bool = False

    @classmethod
    def of(cls, value: Any, index: int | None = None) -> Answer:
        """A JSON answer."""
        headers = {} if index is None else {"X-Consul-Index": str(index)}
        return cls(body=json.dumps(value).encode(), headers=headers)


class FakeAgent:
    """One listening agent.

    It answers from `members`, `events` and `stats`, with blocking queries, unless `script` holds
    answers for a path, which are used up first.
    """

    def __init__(self) -> None:
        self.members: list[dict[str, Any]] = []
        self.members_index = 1
        self.events: list[dict[str, Any]] = []
        self.stats: dict[str, Any] = {"agent": {"checks": "0"}}
        self.script: dict[str, deque[Answer]] = {}
        self.requests: list[Request] = []
        self.changed = threading.Condition()
        self.closing = False
        agent = self

        class Handler(_Handler):
            fake = agent

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        """Stop listening and end every blocked query."""
        with self.changed:
            self.closing = True
            self.changed.notify_all()
        self.server.shutdown()
        self.server.server_close()
        self._thread.join(10)

    def answer(self, path: str, *answers: Answer) -> None:
        """Answer the next requests for `path` with these."""
        self.script.setdefault(path, deque()).extend(answers)

    def set_members(self, *members: dict[str, Any]) -> None:
        """Change the members and wake who waits for that."""
        with self.changed:
            self.members = list(members)
            self.members_index += 1
            self.changed.notify_all()

    def add_event(self, *events: dict[str, Any]) -> None:
        """Add events and wake who waits for them."""
        with self.changed:
            self.events = [*self.events, *events][-256:]
            self.changed.notify_all()

    def wait_for_request(self, count: int, path: str) -> list[Request]:
        """The requests for `path` once there are so many of them."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.requests_for(path)) >= count, 10)
            return self.requests_for(path)

    def requests_for(self, path: str) -> list[Request]:
        """The requests for `path` so far."""
        return [request for request in self.requests if request.path == path]

    def respond(self, request: Request) -> Answer:
        """Answer one request as the API says."""
        if scripted := self.script.get(request.path):
            return scripted.popleft()
        kind = (request.method, request.path.rsplit("/", 1)[0])
        if request.path == "/v1/agent/members":
            return self._blocking(request, lambda: self.members, lambda _: self.members_index)
        if request.path == "/v1/event/list":
            name = request.query.get("name")
            return self._blocking(
                request,
                lambda: [e for e in self.events if name in {None, e["Name"]}],
                event_index,
            )
        if request.path == "/v1/agent/self":
            return Answer.of({"Config": {}, "Member": {}, "Stats": self.stats})
        if kind == ("PUT", "/v1/event/fire"):
            fired = event(
                len(self.events) + 1, unquote(request.path.rsplit("/", 1)[1]), request.body
            )
            return Answer.of(fired | {"LTime": 0})
        if request.method == "PUT":
            return Answer()
        return Answer(405, f"method {request.method} not allowed".encode())

    def _blocking(self, request: Request, value: Any, index: Any) -> Answer:
        with self.changed:
            if asked := int(request.query.get("index", 0)):
                wait = float(request.query["wait"].removesuffix("s"))
                self.changed.wait_for(lambda: self.closing or index(value()) != asked, wait)
            if self.closing:
                return Answer(drop=True)
            return Answer.of(value(), index(value()))


class _Handler(BaseHTTPRequestHandler):
    fake: FakeAgent

    def do_GET(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        token = self.headers.get("X-Consul-Token")
        request = Request(self.command, parts.path, query, body, token)
        with self.fake.changed:
            self.fake.requests.append(request)
            self.fake.changed.notify_all()
        answer = self.fake.respond(request)
        if answer.drop:
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named by the base class
        """Keep stderr for what the tests look at."""
