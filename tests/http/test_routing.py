"""Paths in one form, routes and methods."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.http.app import ROUTES
from agent.http.errors import HttpError
from agent.http.routing import Methods, Router, Target

router = Router(ROUTES)


def refusal(action: object, *args: object) -> HttpError:
    with pytest.raises(HttpError) as caught:
        action(*args)  # type: ignore[operator]
    return caught.value


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/v1/agent/members", "/v1/agent/members", ""),
        ("/v1/agent/members?a=b?c", "/v1/agent/members", "a=b?c"),
        ("/v1/event/fire/a%2Fb%3Fc", "/v1/event/fire/a/b?c", ""),
        ("/v1/event/fire/%252e", "/v1/event/fire/%2e", ""),
        ("/v1/event/fire/%C3%A4", "/v1/event/fire/ä", ""),
        ("http://localhost:8500/v1/x?a", "/v1/x", "a"),
        ("http://localhost:8500", "/", ""),
    ],
)
def test_a_target_is_decoded_once(target: str, path: str, query: str) -> None:
    parsed = Target.parse(target)
    assert (parsed.path, parsed.query) == (path, query)


def test_a_target_in_absolute_form_names_its_host() -> None:
    assert Target.parse("http://evil.example:1/x").host == "evil.example:1"
    assert Target.parse("/x").host == ""


@pytest.mark.parametrize(
    "target",
    ["", "*", "v1", "ftp://localhost/", "http:///x", "localhost:80", "/%zz", "/a%0", "http://[/"],
)
def test_what_is_neither_a_path_nor_a_url_is_bad(target: str) -> None:
    assert refusal(Target.parse, target).status == 400


@pytest.mark.parametrize("path", ["/a%01b", "/a%00", "/a%0D%0Ab", "/a%7f", "/a%E2%80%A8"])
def test_characters_that_cannot_be_printed_are_bad(path: str) -> None:
    assert refusal(Target.parse, path).status == 400


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("//v1/agent/members", "/v1/agent/members"),
        ("//evil.example/v1", "/evil.example/v1"),
        ("/v1//agent/members?a=%20", "/v1/agent/members?a=%20"),
        ("/v1/agent/../agent/members", "/v1/agent/members"),
        ("/v1/%2e%2e/v1/agent/members", "/v1/agent/members"),
        ("/v1/agent/%2e/members", "/v1/agent/members"),
        ("/../../etc/passwd", "/etc/passwd"),
        ("/..", "/"),
        ("/.", "/"),
        ("/v1/./", "/v1/"),
        ("/v1/event/fire/a%2F%2Fb", "/v1/event/fire/a/b"),
        ("/v1/event/fire/x%20y/../%C3%A4", "/v1/event/fire/%C3%A4"),
        ("/v1/event/fire/%ff/../%ff", "/v1/event/fire/%FF"),
        ("/a%5C%5C..//b%3Fc", "/a%5C%5C../b%3Fc"),
    ],
)
def test_empty_and_dotted_segments_are_redirected_away(target: str, location: str) -> None:
    redirect = refusal(Target.parse(target).check_clean)
    assert (redirect.status, redirect.headers["Location"]) == (301, location)


@pytest.mark.parametrize("path", ["/", "/v1/", "/v1/agent/members", "/a/...", "/.../", "/a.b/..c"])
def test_clean_paths_pass(path: str) -> None:
    Target.parse(path).check_clean()


@pytest.mark.parametrize(
    ("path", "route", "rest"),
    [
        ("/", "/", ""),
        ("/v1/agent/members", "/v1/agent/members", ""),
        ("/v1/event/fire/", "/v1/event/fire/", ""),
        ("/v1/event/fire/a%2Fb/c", "/v1/event/fire/", "a/b/c"),
        ("/v1/agent/join/[::1]:8301", "/v1/agent/join/", "[::1]:8301"),
        ("/v1/agent/force-leave/web%201", "/v1/agent/force-leave/", "web 1"),
    ],
)
def test_routes_are_found_with_what_follows_them(path: str, route: str, rest: str) -> None:
    found, remainder = router.find(Target.parse(path))
    assert (found.path, remainder) == (route, rest)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/agent/members/",
        "/v1/agent/membersx",
        "/v1/agent",
        "/x/v1/y",
        "/V1/agent/members",
        "/v1/",
    ],
)
def test_paths_that_are_nobodys(path: str) -> None:
    error = refusal(router.find, Target.parse(path))
    assert error.status == 404
    assert ("/v1/" in path) is (
        error.text == "Invalid URL path: not a recognized HTTP API endpoint"
    )


def test_a_prefix_without_its_slash_is_redirected() -> None:
    error = refusal(router.find, Target.parse("/v1/event/fire?a=b"))
    assert (error.status, error.headers["Location"]) == (301, "/v1/event/fire/?a=b")
    # Also inside another prefix, whose rest it would be: no service is deregistered by asking for one.
    error = refusal(router.find, Target.parse("/v1/agent/service/deregister"))
    assert (error.status, error.headers["Location"]) == (301, "/v1/agent/service/deregister/")


METHODS = {
    "/": "GET,HEAD",
    "/v1/agent/members": "GET,HEAD",
    "/v1/agent/self": "GET,HEAD",
    "/v1/agent/join/": "PUT,GET,POST",
    "/v1/agent/force-leave/": "PUT,GET,POST",
    "/v1/agent/leave": "PUT",
    "/v1/agent/checks": "GET,HEAD",
    "/v1/agent/check/register": "PUT,POST",
    "/v1/agent/check/deregister/": "PUT,GET,POST",
    "/v1/agent/check/pass/": "PUT,GET,POST",
    "/v1/agent/check/warn/": "PUT,GET,POST",
    "/v1/agent/check/fail/": "PUT,GET,POST",
    "/v1/agent/check/update/": "PUT,POST",
    "/v1/agent/maintenance": "PUT",
    "/v1/agent/services": "GET,HEAD",
    "/v1/agent/service/": "GET,HEAD",
    "/v1/agent/health/service/id/": "GET,HEAD",
    "/v1/agent/health/service/name/": "GET,HEAD",
    "/v1/agent/service/register": "PUT,POST",
    "/v1/agent/service/deregister/": "PUT,GET,POST",
    "/v1/agent/service/maintenance/": "PUT",
    "/v1/event/fire/": "PUT",
    "/v1/event/list": "GET,HEAD",
    "/v1/catalog/register": "PUT,POST",
    "/v1/catalog/deregister": "PUT,POST",
    "/v1/catalog/datacenters": "GET,HEAD",
    "/v1/catalog/nodes": "GET,HEAD",
    "/v1/catalog/services": "GET,HEAD",
    "/v1/catalog/service/": "GET,HEAD",
    "/v1/catalog/node/": "GET,HEAD",
    "/v1/health/node/": "GET,HEAD",
    "/v1/health/checks/": "GET,HEAD",
    "/v1/health/service/": "GET,HEAD",
    "/v1/health/state/": "GET,HEAD",
    "/v1/status/leader": "GET,HEAD",
    "/v1/status/peers": "GET,HEAD",
    "/v1/coordinate/datacenters": "GET,HEAD",
    "/v1/coordinate/nodes": "GET,HEAD",
    "/v1/agent/monitor": "GET,HEAD",
    "/v1/agent/reload": "PUT",
    "/v1/coordinate/node/": "GET,HEAD",
    "/v1/operator/keyring": "GET,POST,PUT,DELETE",
    "/v1/agent/query/": "PUT",
}


def test_the_table_of_methods_covers_every_route() -> None:
    assert {
        route.path: ",".join(route.methods.allowed(strict=False)) for route in ROUTES
    } == METHODS


@pytest.mark.parametrize("path", [path for path in METHODS if path != "/v1/operator/keyring"])
def test_strict_mode_has_one_method_per_endpoint(path: str) -> None:
    strict = Router(ROUTES, strict=True)
    route, _ = strict.find(Target.parse(path))
    only = "GET" if route.methods is Methods.READ else "PUT"
    assert strict.allow(route) == {"Allow": f"OPTIONS,{only}"}
    strict.check_method(route, only)
    assert refusal(strict.check_method, route, "HEAD").status == 405


@given(st.text(max_size=40) | st.from_regex(r"/[a-z/.%0-9?]{0,40}"))
def test_any_target_is_a_clean_path_or_an_answer_and_redirects_end(text: str) -> None:
    answers: list[int] = []
    while len(answers) < 3 and (answer := cleaned(text)) is not None:
        answers.append(answer.status)
        text = answer.headers.get("Location", "")
        assert text.startswith("/") is (answer.status == 301)
        assert not text.startswith("//")
        if answer.status != 301:
            break
    assert answers in ([], [400], [301], [301, 400])


def cleaned(target: str) -> HttpError | None:
    """The answer to a target that is not clean; what is clean has no odd segment."""
    try:
        parsed = Target.parse(target)
        parsed.check_clean()
    except HttpError as error:
        return error
    assert not {".", ".."} & set(parsed.path.split("/"))
    assert "//" not in parsed.path
    return None
