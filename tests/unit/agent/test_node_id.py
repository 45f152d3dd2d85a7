"""The UUID of the node and its file."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from agent.config_parse import parse
from agent.node_id import ensure_node_id
from gossip.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

ID = "3d9a3f0a-5b6c-4f7e-9b3e-0123456789ab"


def test_a_new_id_is_kept_with_mode_0600_and_read_again(tmp_path: Path) -> None:
    config = parse([f"-data-dir={tmp_path / 'new' / 'data'}"])
    first = ensure_node_id(config)
    file = tmp_path / "new" / "data" / "node-id"
    assert file.read_text() == first == str(uuid.UUID(first))
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["node-id"]
    assert ensure_node_id(config) == first


def test_an_id_written_by_consul_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "node-id").write_text(f"{ID.upper()}\n")
    assert ensure_node_id(parse([f"-data-dir={tmp_path}"])) == ID


def test_a_configured_id_wins_and_leaves_the_file_alone(tmp_path: Path) -> None:
    config = parse([f"-data-dir={tmp_path}", f"-node-id={ID.upper()}"])
    assert ensure_node_id(config) == ID
    assert list(tmp_path.iterdir()) == []


def test_development_mode_writes_nothing(tmp_path: Path) -> None:
    config = parse(["-dev", f"-data-dir={tmp_path}"])
    assert ensure_node_id(config) != ensure_node_id(config)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content", [b"", b"x", b"\xff\xfe", ID.encode() + b"0", b"{" + ID.encode()]
)
def test_a_file_without_a_uuid_is_named_and_kept(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "node-id").write_bytes(content)
    with pytest.raises(ConfigError, match="node-id does not hold a UUID"):
        ensure_node_id(parse([f"-data-dir={tmp_path}"]))
    assert (tmp_path / "node-id").read_bytes() == content


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    config = parse([f"-data-dir={tmp_path / 'file' / 'data'}"])
    with pytest.raises(ConfigError, match=r"cannot read .*node-id: Not a directory"):
        ensure_node_id(config)
