"""Definitions of watches: what they ask for, who handles them, and Consul's words about mistakes."""

from __future__ import annotations

from typing import Any

import pytest

from agent.decode import Body, DecodeError
from agent.watches.plan import (
    HttpHandler,
    PlanError,
    ScriptHandler,
    watch_definition,
    watch_plan,
)
from agent.watches.progress import Progress

URL = "http://127.0.0.1:1/x"


def target(**keys: Any) -> str:
    return Progress(watch_plan(Body(keys)), wait=60).target()


@pytest.mark.parametrize(
    ("keys", "asked"),
    [
        ({"type": "event"}, "/v1/event/list"),
        ({"type": "event", "name": "a b&c"}, "/v1/event/list?name=a+b%26c"),
        ({"type": "nodes"}, "/v1/catalog/nodes"),
        ({"type": "services", "stale": True}, "/v1/catalog/services?stale="),
        ({"type": "nodes", "datacenter": "dc2"}, "/v1/catalog/nodes?dc=dc2"),
        ({"type": "service", "service": "a/b"}, "/v1/health/service/a%2Fb"),
        ({"type": "service", "service": "web", "tag": "x"}, "/v1/health/service/web?tag=x"),
        (
            {"type": "service", "service": "web", "tag": ["x", "y"], "passingonly": True},
            "/v1/health/service/web?tag=x&tag=y&passing=1",
        ),
        ({"type": "service", "service": "web", "tag": ""}, "/v1/health/service/web"),
        ({"type": "checks"}, "/v1/health/state/any"),
        ({"type": "checks", "state": "critical"}, "/v1/health/state/critical"),
        ({"type": "checks", "service": "web"}, "/v1/health/checks/web"),
        ({"type": "members"}, "/v1/agent/members"),
        ({"type": "members", "wan": True}, "/v1/agent/members?wan=1"),
    ],
)
def test_each_type_asks_for_its_list(keys: dict[str, Any], asked: str) -> None:
    assert target(**keys) == asked


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({}, "Watch type must be specified"),
        ({"type": "key"}, "Unsupported watch type: key"),
        ({"type": "service"}, "Must specify a single service to watch"),
        ({"type": "checks", "service": "a", "state": "any"}, "Cannot specify service and state"),
        ({"type": "nodes", "tag": "x", "service": "y"}, "Invalid parameters: [tag service]"),
        ({"type": "event", "stale": True}, "Invalid parameters: [stale]"),
        ({"type": "nodes", "wan": True}, "Invalid parameters: [wan]"),
        ({"type": "nodes", "token": "a\nb"}, "The token has characters that no token has"),
    ],
)
def test_what_makes_no_watch_is_refused_in_consuls_words(
    keys: dict[str, Any], problem: str
) -> None:
    with pytest.raises(PlanError) as caught:
        watch_plan(Body(keys))
    assert str(caught.value) == problem


def handler(**keys: Any) -> Any:
    return watch_definition(Body({"type": "nodes"} | keys)).handler


def http(**config: Any) -> Any:
    return handler(handler_type="http", http_handler_config={"path": URL} | config)


def test_a_program_is_a_list_of_arguments_or_a_line_for_the_shell() -> None:
    assert handler(args=["a", "b c"]) == ScriptHandler(("a", "b c"))
    assert handler(handler="a | b") == ScriptHandler(("sh", "-c", "a | b"))
    assert handler(handler_type="script", args=["a"]) == ScriptHandler(("a",))


def test_a_server_is_told_by_post_within_ten_seconds_unless_it_says_otherwise() -> None:
    assert http() == HttpHandler(url=URL)
    assert (http().method, http().timeout, http().skip_verify) == ("POST", 10.0, False)
    assert http(
        method="put", timeout="2s", tls_skip_verify=True, header={"X-A": ["b", "c"]}
    ) == HttpHandler(
        url=URL,
        method="PUT",
        timeout=2.0,
        skip_verify=True,
        headers=(("X-A", "b"), ("X-A", "c")),
    )


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({}, "Must define a watch handler"),
        ({"args": []}, "Must define a watch handler"),
        ({"handler": "a", "args": ["b"]}, "Only one watch handler allowed"),
        (
            {"handler_type": "http", "http_handler_config": {"path": URL}, "args": ["b"]},
            "Only one watch handler allowed",
        ),
        ({"http_handler_config": {"path": URL}}, "needs the handler type 'http'"),
        ({"handler_type": "http"}, "requires 'http_handler_config' to be set"),
        ({"handler_type": "smtp"}, "Unsupported handler type: smtp"),
        ({"args": ["a\0b"]}, "have no NUL character"),
        ({"args": ["a"], "extra": 1}, "Invalid parameters: [extra]"),
        (
            {"handler_type": "http", "http_handler_config": {"path": URL, "body": "x"}},
            "Invalid parameters: [HTTPHandlerConfig.body]",
        ),
    ],
)
def test_a_watch_has_one_handler_and_no_other_keys(keys: dict[str, Any], problem: str) -> None:
    with pytest.raises(PlanError) as caught:
        handler(**keys)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"path": ""}, "Requires 'path' to be set"),
        ({"path": "ftp://s3cret/x"}, "not an http:// or https:// URL"),
        ({"path": "http://[s3cret"}, "not an http:// or https:// URL"),
        ({"path": "http://s3cret\n/"}, "not an http:// or https:// URL"),
        ({"method": "A B"}, "'method' is not one of HTTP's"),
        ({"header": {"X": ["s3cret\r\nY: z"]}}, "a 'header' cannot be sent"),
        ({"header": {"X Y": ["s3cret"]}}, "a 'header' cannot be sent"),
    ],
)
def test_what_cannot_be_sent_is_refused_and_not_quoted(
    config: dict[str, Any], problem: str
) -> None:
    with pytest.raises(PlanError) as caught:
        http(**config)
    assert str(caught.value).startswith("Failed to parse 'http_handler_config': ")
    assert problem in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "keys",
    [
        {"args": "a"},
        {"args": [1]},
        {"handler": 1},
        {"args": ["a"], "tag": 1, "service": "x", "type": "service"},
    ],
)
def test_values_of_another_kind_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(DecodeError):
        handler(**keys)


def test_secrets_are_not_shown() -> None:
    plan = watch_definition(
        Body(
            {
                "type": "nodes",
                "token": "s3cret",
                "handler_type": "http",
                "http_handler_config": {"path": f"{URL}?s3cret", "header": {"X": ["s3cret"]}},
            }
        )
    )
    assert plan.token == "s3cret"
    assert "s3cret" not in repr(plan)
