"""Definitions of services and checks, from whatever has them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.decode import Body, DecodeError
from agent.definitions import (
    CheckDefinition,
    DefinitionError,
    ServiceDefinition,
    check_definition,
    service_definition,
)
from agent.local_files import check_data, service_data
from agent.store.entries import Status

RUN = {"Interval": "10s"}


def check(**values: Any) -> CheckDefinition:
    return check_definition(Body({"Name": "x"} | values))


def service(**values: Any) -> ServiceDefinition:
    return service_definition(Body({"Name": "web"} | values))


# Checks


def test_a_ttl_check_has_its_name_for_an_id_and_begins_critical() -> None:
    found = check(TTL="15s", Notes="n")
    assert (found.id, found.name, found.kind, found.ttl) == ("x", "x", "ttl", 15.0)
    assert (found.status, found.notes, found.service_id) == (Status.CRITICAL, "n", "")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"HTTP": "http://x/"} | RUN, "http"),
        ({"TCP": "x:1"} | RUN, "tcp"),
        ({"TCP": "[::1]:1"} | RUN, "tcp"),
        ({"Args": ["true"]} | RUN, "script"),
        ({"ScriptArgs": ["true"]} | RUN, "script"),
        ({"HTTP": "http://x/", "TCP": "x:1", "Args": ["true"]} | RUN, "http"),
        ({"TCP": "x:1", "Args": ["true"]} | RUN, "tcp"),
        ({"TTL": "1s", "HTTP": "http://x/"}, "ttl"),
    ],
)
def test_the_first_kind_of_consuls_order_counts(values: dict[str, Any], kind: str) -> None:
    assert check(**values).kind == kind


def test_the_sample_of_consuls_first_api_is_a_ttl_check_with_a_warning() -> None:
    found = check(Script="/usr/local/bin/check_mem.py", Interval="10s", TTL="15s")
    assert (found.kind, found.interval, found.args) == ("ttl", 0.0, ())
    assert found.warnings == ("the check has a TTL, so nothing else makes it",)


def test_a_script_of_the_first_api_is_run_by_a_shell() -> None:
    assert check(Script="a | b", **RUN).args == ("sh", "-c", "a | b")


def test_keys_of_files_mean_the_same() -> None:
    found = check_definition(
        Body(
            {
                "id": "i",
                "name": "n",
                "service_id": "s",
                "http": "http://x/",
                "interval": "2s",
                "timeout": 3_000_000_000,
                "tls_skip_verify": True,
                "deregister_critical_service_after": "90m",
                "success_before_passing": 2,
                "failures_before_critical": 3,
                "header": {"a": ["b"]},
            }
        )
    )
    assert (found.id, found.service_id, found.interval, found.timeout) == ("i", "s", 2.0, 3.0)
    assert (found.skip_verify, found.deregister_after) == (True, 5400.0)
    assert (found.passing_after, found.critical_after, found.headers) == (2, 3, {"a": ["b"]})


def test_what_is_too_often_or_too_soon_is_raised_with_a_warning() -> None:
    found = check(TCP="x:1", Interval="1ms", DeregisterCriticalServiceAfter="1s")
    assert (found.interval, found.deregister_after) == (1.0, 60.0)
    assert found.warnings == (
        "Interval is raised to 1s",
        "DeregisterCriticalServiceAfter is raised to 1m0s",
    )


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"Name": ""}, "Missing check name"),
        ({}, "Invalid check: TTL must be > 0 for TTL checks"),
        (RUN, "Invalid check: TTL must be > 0 for TTL checks"),
        ({"TTL": "-1s"}, "Invalid check: TTL must be > 0 for TTL checks"),
        (
            {"HTTP": "http://x"},
            "Invalid check: Interval must be > 0 for Script, HTTP, or TCP checks",
        ),
        ({"GRPC": "x:1"} | RUN, "Invalid check: GRPC checks are not supported"),
        ({"AliasService": "web"}, "Invalid check: AliasService checks are not supported"),
        (
            {"DockerContainerID": "c", "Args": ["true"]} | RUN,
            "Invalid check: DockerContainerID checks are not supported",
        ),
        ({"TTL": "1s", "Status": "bad"}, "Bad check status"),
        ({"TTL": "1s", "Status": "unknown"}, "Bad check status"),
        ({"TTL": "1s", "ID": "serfHealth"}, 'CheckID "serfHealth" is reserved for gossip'),
        (
            {"HTTP": "ftp://x/"} | RUN,
            "Invalid check: HTTP is not an http:// or https:// URL",
        ),
        ({"HTTP": "http://"} | RUN, "Invalid check: HTTP is not an http:// or https:// URL"),
        ({"HTTP": "http://x:y/"} | RUN, "Invalid check: HTTP is not an http:// or https:// URL"),
        ({"HTTP": "http://x/\r\n"} | RUN, "Invalid check: HTTP is not an http:// or https:// URL"),
        (
            {"HTTP": "http://x/", "Header": {"a": ["b\r\nc: d"]}} | RUN,
            "Invalid check: a Header cannot be sent",
        ),
        (
            {"HTTP": "http://x/", "Header": {"a b": ["c"]}} | RUN,
            "Invalid check: a Header cannot be sent",
        ),
        (
            {"HTTP": "http://x/", "Method": "GET /"} | RUN,
            "Invalid check: Method is not one of HTTP's",
        ),
        ({"TCP": "x"} | RUN, "Invalid check: TCP is not host:port"),
        ({"TCP": "x:0"} | RUN, "Invalid check: TCP is not host:port"),
        ({"TCP": "::1:80"} | RUN, "Invalid check: TCP is not host:port"),
        ({"Args": ["a\0"]} | RUN, "Invalid check: an argument has a NUL character"),
    ],
)
def test_a_check_that_cannot_be_made_is_refused(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        check(**values)
    assert str(caught.value) == problem


def test_secrets_of_a_check_are_not_in_its_repr() -> None:
    found = check(HTTP="http://x/", Header={"a": ["s3cret"]}, Body="s3cret", Token="s3cret", **RUN)
    assert "s3cret" not in repr(found)


# Services


def test_a_service_has_its_name_for_an_id_and_what_is_not_said_is_empty() -> None:
    found = service().service
    assert (found.id, found.service, found.tags, found.port) == ("web", "web", (), 0)
    assert (found.address, found.meta, found.weights) == ("", {}, (1, 1))


@pytest.mark.parametrize(
    ("address", "family"), [("10.0.0.1", "ipv4"), ("::5", "ipv6"), ("host", ""), ("", "")]
)
def test_an_address_of_a_family_is_also_a_tagged_one_of_it(address: str, family: str) -> None:
    found = service(Address=address, Port=7).service.tagged_addresses
    expected = {f"{pool}_{family}": (address, 7) for pool in ("lan", "wan")} if family else {}
    assert found == expected
    given = {"lan_ipv4": {"Address": "10.9.9.9", "Port": 1}}
    found = service(Address=address, TaggedAddresses=given).service.tagged_addresses
    assert found["lan_ipv4"] == ("10.9.9.9", 1)


def test_the_check_of_a_service_is_named_after_it() -> None:
    (found,) = service(ID="web1", Check={"TTL": "1s"}).checks
    assert (found.id, found.name, found.service_id) == (
        "service:web1",
        "Service 'web' check",
        "web1",
    )


def test_several_checks_of_a_service_are_counted_and_may_have_ids_of_their_own() -> None:
    found = service(
        Check={"TTL": "1s"},
        Checks=[{"TTL": "1s", "CheckID": "mine", "Name": "my check"}, {"TTL": "1s"}],
    )
    assert [one.id for one in found.checks] == ["service:web:1", "mine", "service:web:3"]
    assert found.checks[1].name == "my check"


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"TTL": None, "HTTP": None},
        {"TTL": "0s", "Interval": ""},
        {"Name": "", "Args": [], "Header": {}, "TLSSkipVerify": False, "Timeout": 0},
    ],
)
def test_a_check_that_says_nothing_is_none(values: dict[str, Any]) -> None:
    assert service(Check=values).checks == ()


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"Name": ""}, "Missing service name"),
        ({"Address": "0.0.0.0"}, "Invalid service address"),
        ({"Address": "[::]"}, "Invalid service address"),
        ({"ID": "consul"}, 'Service ID "consul" is reserved for servers'),
        ({"Kind": "connect-proxy"}, 'Invalid service: kind "connect-proxy" is not supported'),
        ({"Weights": {"Passing": 0}}, "Invalid Weights: Passing must be greater than 0"),
        (
            {"Weights": {"Passing": 1, "Warning": -1}},
            "Invalid Weights: Warning must be greater or equal than 0",
        ),
        (
            {"Weights": {"Passing": 65536}},
            "Invalid Weights: DNS Weight must be between 0 and 65535",
        ),
        (
            {"Meta": {"a b": "c"}},
            "Invalid Service Meta: Couldn't load metadata pair ('a b', 'c'): Key contains invalid characters",
        ),
        ({"Checks": [{}]}, "Invalid check: TTL must be > 0 for TTL checks"),
        (
            {"Check": {"TTL": "1s", "Status": "bad"}},
            "Status for checks must 'passing', 'warning', 'critical'",
        ),
    ],
)
def test_a_service_that_cannot_be_is_refused(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        service(**values)
    assert str(caught.value) == problem


def test_names_that_dns_does_not_know_are_taken_with_a_warning() -> None:
    assert service(Tags=["v1"]).warnings == ()
    assert service(Name="a_b").warnings == ("the name of the service cannot be part of a DNS name",)
    assert service(Tags=["x" * 64]).warnings == (
        "a tag of the service cannot be part of a DNS name",
    )


# Round trips, and anything at all

SECONDS = st.integers(1, 10**6).map(lambda ms: f"{ms}ms")
TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
KINDS = st.one_of(
    SECONDS.map(lambda ttl: {"TTL": ttl}),
    st.fixed_dictionaries({"TCP": st.just("h:1"), "Interval": SECONDS, "Timeout": SECONDS}),
    st.fixed_dictionaries(
        {"Args": st.lists(TEXT.filter(lambda t: "\0" not in t), min_size=1), "Interval": SECONDS}
    ),
    st.fixed_dictionaries(
        {
            "HTTP": st.just("https://u:p@h:1/p?q"),
            "Interval": SECONDS,
            "Method": st.sampled_from(["GET", "POST"]),
            "Header": st.dictionaries(st.sampled_from(["A", "b-c"]), st.lists(st.just("v"))),
            "Body": TEXT,
            "TLSSkipVerify": st.booleans(),
        }
    ),
)
CHECKS = st.builds(
    lambda kind, rest: kind | rest,
    KINDS,
    st.fixed_dictionaries(
        {
            "Name": TEXT,
            "ID": TEXT,
            "Notes": TEXT,
            "ServiceID": TEXT,
            "Status": st.sampled_from(["passing", "warning", "critical"]),
            "DeregisterCriticalServiceAfter": SECONDS,
            "SuccessBeforePassing": st.integers(0, 9),
            "FailuresBeforeCritical": st.integers(0, 9),
            "Token": TEXT,
        }
    ),
)
SERVICES = st.fixed_dictionaries(
    {
        "Name": TEXT,
        "ID": TEXT,
        "Tags": st.lists(TEXT, max_size=3),
        "Port": st.integers(0, 65535),
        "Meta": st.dictionaries(st.sampled_from(["a", "B-1", "_"]), TEXT, max_size=2),
        "TaggedAddresses": st.dictionaries(
            TEXT, st.fixed_dictionaries({"Address": TEXT, "Port": st.integers(0, 9)}), max_size=2
        ),
        "Weights": st.fixed_dictionaries({"Passing": st.integers(1, 9), "Warning": st.just(0)}),
        "EnableTagOverride": st.booleans(),
        "Token": TEXT,
    }
)


@given(CHECKS)
def test_a_check_that_is_written_is_read_as_it_was(values: dict[str, Any]) -> None:
    found = check_definition(Body(values))
    again = check_definition(Body.parse(json.dumps(check_data(found)).encode()))
    assert again == found
    assert again.headers == found.headers


@given(SERVICES)
def test_a_service_that_is_written_is_read_as_it_was(values: dict[str, Any]) -> None:
    found = service_definition(Body(values))
    assert service_definition(Body.parse(json.dumps(service_data(found)).encode())) == found


ANY = st.none() | st.booleans() | st.integers() | TEXT | st.lists(TEXT, max_size=2)
KEYS = st.sampled_from(
    ["Name", "ID", "TTL", "HTTP", "TCP", "Args", "Script", "Interval", "Check", "Checks", "Weights",
     "Header", "Method", "Status", "Tags", "Address", "TaggedAddresses", "Kind"]
)  # fmt: skip


@given(
    st.dictionaries(KEYS, ANY | st.dictionaries(KEYS, ANY) | st.lists(st.dictionaries(KEYS, ANY)))
)
def test_anything_is_a_definition_or_refused(values: dict[str, Any]) -> None:
    for read in (service_definition, check_definition):
        try:
            read(Body(values))
        except (DecodeError, DefinitionError) as error:
            assert str(error)  # noqa: PT017 - either outcome is fine
