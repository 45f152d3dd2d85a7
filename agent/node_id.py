"""The UUID of this node, which stays the same when its name or address changes."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from gossip.errors import ConfigError
from gossip.files import write_private

if TYPE_CHECKING:
    from agent.config import AgentConfig

__all__ = ["ensure_node_id"]

_FILE = "node-id"  # Consul's name for it, so that a data directory can be taken over
_MAX_FILE = 1024


def ensure_node_id(config: AgentConfig) -> str:
    """The node's UUID: configured, else the one kept in the data directory, else a new random one.

    A new one is written to ``<data_dir>/node-id`` with mode 0600 before it is used, so that a crash
    leaves either no file or a whole one. In development mode nothing is read or written.

    Raises:
        ConfigError: the file holds no UUID, or cannot be read or written.
    """
    if config.node_id:
        return config.node_id
    if config.dev or not config.data_dir:
        return str(uuid.uuid4())
    path = Path(config.data_dir) / _FILE
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_FILE).decode("ascii", "replace").strip().lower()
    except FileNotFoundError:
        return _create(path)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        if str(uuid.UUID(text)) == text:
            return text
    except ValueError:
        pass
    raise ConfigError(f"{path} does not hold a UUID; remove the file to have a new one made")


def _create(path: Path) -> str:
    node_id = str(uuid.uuid4())
    try:
        write_private(path, node_id.encode())
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}") from error
    return node_id
