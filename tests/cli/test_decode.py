"""``gossip decode``."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest

VECTORS = json.loads((Path(__file__).parents[1] / "data" / "vectors.json").read_text())
WIRE = [v for v in VECTORS if v["transport"] in {"udp", "tcp"}]
NACK = "0b81a55365714e6f0c"


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Any:
    def feed(data: bytes) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))

    return feed


@pytest.mark.parametrize("vector", WIRE, ids=lambda v: v["name"])
def test_what_genuine_nodes_sent_is_decoded(gossip: Any, vector: dict[str, Any]) -> None:
    argv = ["decode", vector["hex"]]
    argv += ["-stream"] if vector["transport"] == "tcp" else []
    argv += [f"-key={vector['key']}"] if "key" in vector else []
    argv += [f"-label={vector['label']}"] if "label" in vector else []
    code, out, err = gossip(*argv)
    assert (code, err) == (0, "")
    assert json.loads(out) == vector["decoded"]


@pytest.mark.parametrize(
    "text",
    [NACK, NACK.upper(), f"0x{NACK}", "0b:81:a5:53:65:71:4e:6f:0c", f" {NACK[:4]} {NACK[4:]}\n"],
)
def test_hex_may_be_spaced_and_prefixed(gossip: Any, text: str) -> None:
    assert json.loads(gossip("decode", text).out)["messages"][0]["body"] == {"SeqNo": 12}


@pytest.mark.parametrize("argv", [[], ["-"]])
@pytest.mark.parametrize("data", [NACK.encode(), NACK.encode() + b"\n", bytes.fromhex(NACK)])
def test_stdin_is_hex_or_raw_bytes(gossip: Any, stdin: Any, argv: list[str], data: bytes) -> None:
    stdin(data)
    assert json.loads(gossip("decode", *argv).out)["messages"][0]["name"] == "nackResp"


def test_keys_are_hex_or_base64_and_several_are_tried(gossip: Any) -> None:
    vector = next(v for v in WIRE if "key" in v and v["transport"] == "udp")
    good = base64.b64encode(bytes.fromhex(vector["key"])).decode()
    other = base64.b64encode(bytes(16)).decode()
    out = gossip("decode", f"-key={other}", "-key", good, vector["hex"]).out
    assert json.loads(out) == vector["decoded"]


def test_bad_bytes_are_located_by_layer_and_offset(gossip: Any) -> None:
    code, out, err = gossip("decode", NACK[:-2])
    assert (code, out) == (1, "")
    assert err.startswith("layer nackResp, offset ")
    error = json.loads(gossip("decode", NACK[:-2], "-format=json").err)
    assert error["Layer"] == "nackResp"
    assert isinstance(error["Offset"], int)


def test_the_wrong_key_is_named_as_the_encryption_layer(gossip: Any) -> None:
    vector = next(v for v in WIRE if "key" in v and v["transport"] == "udp")
    key = base64.b64encode(bytes(16)).decode()
    code, _, err = gossip("decode", "-key", key, vector["hex"])
    assert code == 1
    assert err.startswith("layer encrypt")


@pytest.mark.parametrize(
    ("argv", "error"),
    [
        (["zz"], "the input is not hex: it has other characters"),
        (["abc"], "the input is not hex: it has an odd number of digits"),
        ([""], "there is nothing to decode"),
        ([NACK, NACK], "too many arguments"),
        (["-key=zzz", NACK], "flag -key: the key is not base64 or hex of 16, 24 or 32 bytes"),
    ],
)
def test_what_cannot_be_decoded_is_explained(gossip: Any, argv: list[str], error: str) -> None:
    code, out, err = gossip("decode", *argv)
    assert (code, out) == (1, "")
    assert err.startswith(error)


def test_a_bad_key_is_not_shown(gossip: Any) -> None:
    assert "c2VjcmV0" not in gossip("decode", "-key=c2VjcmV0", NACK).err


def test_numbers_that_json_does_not_know_are_text(gossip: Any) -> None:
    nan = "cb7ff8000000000000"
    out = gossip("decode", f"0b82a55365714e6f0ca178{nan}").out
    assert json.loads(out, parse_constant=pytest.fail)["messages"][0]["body"]["x"] == "nan"


def test_no_input_crashes_the_command(gossip: Any) -> None:
    for first in range(256):
        for tail in ("", "00", "ff" * 9, "81a55365714e6f0c", "dfffffffff"):
            for stream in ([], ["-stream"]):
                assert gossip("decode", f"{first:02x}{tail}", *stream).code in {0, 1}
