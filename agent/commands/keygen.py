"""``gossip keygen``: a new gossip key."""

from __future__ import annotations

import base64
import os

from agent.commands.base import FORMAT, Command, no_args

TYPE_CHECKING = False  # what `typing` has; importing it takes a tenth of the start time
if TYPE_CHECKING:
    from agent.commands.base import Context

__all__ = ["COMMAND"]

KEY_BYTES = 32  # AES-256


def run(context: Context) -> int:
    """Print a random key."""
    no_args(context)
    key = base64.b64encode(os.urandom(KEY_BYTES)).decode("ascii")
    if context.json:
        context.print_json({"Key": key})
    else:
        context.print(key)
    return 0


COMMAND = Command(
    "keygen",
    "",
    "Makes a new 32-byte key in the form that `gossip agent -encrypt` and the configuration key "
    "encrypt take. Every member of a cluster needs the same one.",
    flags=(FORMAT,),
    examples=(("gossip keygen", "Print a key."),),
    run=run,
)
