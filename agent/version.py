"""The version of this agent, in the forms that Consul's tags and commands carry."""

from __future__ import annotations

__all__ = ["BUILD", "PROTOCOL", "PROTOCOL_MAX", "PROTOCOL_MIN", "REVISION", "VERSION"]

VERSION = "0.1.0"
"""A semantic version; Consul ignores a member as a server when it cannot parse this."""
REVISION = "pygossip"
"""Eight characters, where Consul has its commit: here they name the implementation."""
BUILD = f"{VERSION}:{REVISION}"
"""The ``build`` tag."""
PROTOCOL, PROTOCOL_MIN, PROTOCOL_MAX = 2, 2, 3
"""Consul's protocol: the one spoken by default (tag ``vsn``) and the range understood."""
