"""Metadata of nodes and services: free text by key, within Consul's bounds."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MAX_META", "MAX_META_KEY", "MAX_META_VALUE", "meta_problem"]

MAX_META = 64
"""Keys of one node or service."""
MAX_META_KEY = 128
MAX_META_VALUE = 512
"""Characters of a key and of its value."""
_RESERVED = "consul-"
_BAD_CHARACTER = re.compile(r"[^a-zA-Z0-9_-]")


def meta_problem(meta: Mapping[str, str]) -> str:
    """Why a catalog does not take this metadata, in Consul's words; empty when it does."""
    if len(meta) > MAX_META:
        return f"Node metadata cannot contain more than {MAX_META} key/value pairs"
    for key, value in meta.items():
        if problem := _pair_problem(key, value):
            pair = f"('{key[:MAX_META_KEY]}', '{value[:MAX_META_KEY]}')"
            return f"Couldn't load metadata pair {pair}: {problem}"
    return ""


def _pair_problem(key: str, value: str) -> str:
    if not key:
        return "Key cannot be blank"
    if _BAD_CHARACTER.search(key):
        return "Key contains invalid characters"
    if len(key) > MAX_META_KEY:
        return f"Key is too long (limit: {MAX_META_KEY} characters)"
    if key.startswith(_RESERVED):
        return f"Key prefix '{_RESERVED}' is reserved for internal use"
    if len(value) > MAX_META_VALUE:
        return f"Value is too long (limit: {MAX_META_VALUE} characters)"
    return ""
