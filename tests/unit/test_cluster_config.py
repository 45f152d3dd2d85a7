"""The settings of a cluster: each mistake is told by the constructor, with the setting and its value."""

from __future__ import annotations

from typing import Any

import pytest

from gossip import Config, ConfigError


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": ""}, "name '' is not 1 to 255 bytes long"),
        ({"name": None}, "name None is not text"),
        ({"name": "\ud800"}, r"name '\ud800' cannot be encoded as UTF-8"),
        ({"label": b"pool"}, "label b'pool' is not text"),
        ({"label": "\ud800"}, r"label '\ud800' cannot be encoded as UTF-8"),
        ({"bind": "localhost"}, "bind 'localhost' is not an IP address"),
        ({"bind": None}, "bind None is not text"),
        ({"advertise": ""}, "advertise '' is not an IP address"),
        ({"port": "7946"}, "port '7946' is not a whole number"),
        ({"port": None}, "port None is not a whole number"),
        ({"port": True}, "port True is not a whole number"),
        ({"indirect_checks": 1.5}, "indirect_checks 1.5 is not a whole number"),
        ({"probe_interval": "1s"}, "probe_interval '1s' is not a number"),
        ({"probe_interval": -1}, "probe_interval -1 is not between 0.01 and 3600"),
        ({"reconnect_timeout": None}, "reconnect_timeout None is not a number"),
        ({"tcp_ping": "no"}, "tcp_ping 'no' is not True or False"),
        ({"tags": ["web"]}, "tags ['web'] are list, not a mapping"),
        ({"tags": {"port": 80}}, "'port' of tags, 80 is int, not str"),
        ({"tags": {80: "port"}}, "a name of tags, 80 is int, not str"),
        ({"keys": b"0123456789abcdef"}, "keys are bytes, not a tuple of bytes"),
        ({"keys": ("0123456789abcdef",)}, "an encryption key is str, not bytes"),
        ({"keys": (b"0123",)}, "an encryption key has 4 bytes, not 16, 24 or 32"),
    ],
)
def test_a_mistake_is_told_by_the_constructor_with_the_setting(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        Config(**({"name": "one"} | settings))

    assert message in str(caught.value)


def test_numbers_that_python_takes_for_one_another_are_taken() -> None:
    config = Config.lan("one", probe_interval=2, advertise_port=None, advertise=None)

    assert config.probe_interval == 2


def test_a_name_that_is_no_utf8_but_came_from_the_system_is_taken() -> None:
    assert Config.lan("host-\udc80").name == "host-\udc80"
