"""What the commands share: their description, their context, and the forms of output.

Results go to stdout. With ``-format json`` they are one JSON document, or one document per line in
the modes that follow changes. Errors and notes go to stderr, with ``-format json`` as one JSON
object per line with the key ``Error`` or ``Warning``, so that stdout never holds anything but results.
"""

from __future__ import annotations

import json
import os
import sys

from agent.flags import FORMAT, HELP, Flag, ParsedFlags, UsageError, describe_flags, wrap

TYPE_CHECKING = False  # what `typing` has; importing it takes a tenth of the start time
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from agent.client import Client

__all__ = [
    "FORMAT",
    "HTTP_FLAGS",
    "Command",
    "CommandError",
    "Context",
    "columns",
    "printable",
]

HTTP_FLAGS = (
    Flag(
        "http-addr",
        "Address of the agent: host:port, http://host:port or unix:///path. Also read from "
        "CONSUL_HTTP_ADDR (default 127.0.0.1:8500).",
        value="address",
    ),
    Flag(
        "token",
        "Token to send. Also read from CONSUL_HTTP_TOKEN, which other users of the machine "
        "cannot see.",
        value="token",
        secret=True,
    ),
    Flag(
        "token-file",
        "File with the token to send. Also read from CONSUL_HTTP_TOKEN_FILE.",
        value="path",
    ),
    Flag("rpc-addr", "Ignored; agents are reached over HTTP.", value="address", hidden=True),
    FORMAT,
)


class CommandError(Exception):
    """A command failed.

    Args:
        message: what the user reads.
        code: exit code.
        details: further keys of the JSON form.
    """

    def __init__(self, message: str, code: int = 1, **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.details = details


class Command:
    """One command: how it is called, described and run.

    Args:
        name: the word after ``gossip``.
        usage: the arguments that follow it.
        text: what it does.
        flags: the flags it knows, besides ``-help``.
        examples: (command line, what it does) for the help.
        run: carries it out and returns the exit code.
        parses: `run` reads the flags itself, mistakes included.
        flags_first: what follows the first positional argument belongs to it.
    """

    def __init__(
        self,
        name: str,
        usage: str,
        text: str,
        *,
        flags: Sequence[Flag],
        examples: Sequence[tuple[str, str]],
        run: Callable[[Context], int],
        parses: bool = False,
        flags_first: bool = False,
    ) -> None:
        self.name = name
        self.usage = usage
        self.text = text
        self.flags = (*flags, HELP)
        self.examples = examples
        self.run = run
        self.parses = parses
        self.flags_first = flags_first

    def help(self) -> str:
        """The whole help text."""
        paragraphs = "\n\n".join(wrap(part, "  ") for part in self.text.split("\n\n"))
        examples = "\n\n".join(
            f"{wrap(what, '  ')}\n\n    $ {line}" for line, what in self.examples
        )
        return (
            f"Usage: gossip {self.name} {self.usage}".rstrip()
            + f"\n\n{paragraphs}\n\nExamples\n\n{examples}\n\n"
            + f"Options\n\n{describe_flags(self.flags)}"
        )


class Context:
    """One run of a command: its flags, and where its output goes.

    Attributes:
        flags: the parsed flags.
        argv: the command line behind the command's name.
        json: whether the output is JSON.
        following: the command runs until it is interrupted, which then counts as success.
    """

    def __init__(self, flags: ParsedFlags, argv: Sequence[str]) -> None:
        self.flags = flags
        self.argv = list(argv)
        self.json = wants_json(flags)
        self.following = False

    @property
    def args(self) -> list[str]:
        """The positional arguments."""
        return self.flags.args

    def client(self) -> Client:
        """The agent that flags and environment name.

        Raises:
            ApiError: the address or the token cannot be used.
            CommandError: the token file cannot be read.
        """
        from agent.client import Client  # noqa: PLC0415 - half of the start time; not all need it

        address = self.flags.text("http-addr") or os.environ.get("CONSUL_HTTP_ADDR", "")
        return Client(address, self._token())

    def _token(self) -> str:
        if token := self.flags.text("token"):
            return token
        path = self.flags.text("token-file")
        if not path and (token := os.environ.get("CONSUL_HTTP_TOKEN", "")):
            return token
        if not (path := path or os.environ.get("CONSUL_HTTP_TOKEN_FILE", "")):
            return ""
        try:
            with open(path, encoding="ascii", errors="replace") as file:  # noqa: PTH123 - pathlib costs 3 ms
                return file.read(4096).strip()
        except OSError as error:
            raise CommandError(f"cannot read the token file {path}: {error.strerror}") from None

    def print(self, text: str) -> None:
        """A line, or several, of the result."""
        sys.stdout.write(f"{text}\n")
        if self.following:
            sys.stdout.flush()  # whoever follows wants each line when it happens

    def print_json(self, value: object) -> None:
        """The result as JSON: a document of its own, or a line when following."""
        self.print(json.dumps(value, indent=None if self.following else 2))

    def note(self, text: str) -> None:
        """A remark beside the result."""
        write_error(text, as_json=self.json, key="Warning")


def wants_json(flags: ParsedFlags) -> bool:
    """Whether ``-format json`` was given; an unknown form counts as text."""
    return flags.text("format") == "json"


def check_flags(flags: ParsedFlags) -> None:
    """Refuse a command line with mistakes.

    Raises:
        UsageError: with all of them.
    """
    errors = list(flags.errors)
    if (form := flags.text("format", "text")) not in {"text", "json"}:
        errors.append(f'flag -format: "{form}" is not text or json')
    if errors:
        raise UsageError(errors)


def no_args(context: Context) -> None:
    """Refuse positional arguments.

    Raises:
        UsageError: there are some.
    """
    if context.args:
        raise UsageError([f"unexpected arguments: {' '.join(context.args)}"])


def write_error(
    text: str, *, as_json: bool, key: str = "Error", details: Mapping[str, Any] | None = None
) -> None:
    """Write a message to stderr in the chosen form."""
    if as_json:
        line = json.dumps({key: text} | dict(details or {}))
    else:
        line = "\n".join(printable(part.expandtabs(4)) for part in text.splitlines())
    sys.stdout.flush()  # keeps the order of results and messages on a terminal
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def printable(text: str) -> str:
    """The text with everything escaped that could steer a terminal.

    Names, tags and payloads come from the network, where nobody checks them for escape sequences.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def columns(rows: Iterable[Sequence[str]]) -> str:
    """Rows as aligned columns, two spaces apart, without spaces at the ends of lines."""
    table = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    )
