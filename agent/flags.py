"""Command line flags as Go's ``flag`` package reads them, which is what Consul's users type.

One dash or two mean the same; a value follows after ``=`` or as the next argument; a boolean takes
its value only after ``=``, so that ``-server`` and ``-server=false`` both work; ``--`` ends the
flags. Unlike in Go, flags may also follow positional arguments, and every error of a command line is
reported instead of the first. ``argparse`` is not used: it knows neither of these spellings and
costs a fifth of the time in which a short command has to answer.
"""

from __future__ import annotations

TYPE_CHECKING = False  # what `typing` has; importing it takes a tenth of the start time
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

__all__ = [
    "FORMAT",
    "HELP",
    "Flag",
    "ParsedFlags",
    "UsageError",
    "describe_flags",
    "looks_secret",
    "parse_bool",
    "parse_flags",
    "suggest",
    "wrap",
]

_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_SECRET_WORDS = ("encr", "key", "token", "secret", "pass", "acl", "auth")
_SECRETS = ("acl_token", "encrypt", "key", "rpc_auth", "token")
_WIDTH = 78


class UsageError(Exception):
    """A command line that cannot be carried out.

    Attributes:
        errors: one complete sentence per mistake, in the order of the command line.
    """

    def __init__(self, errors: Iterable[str]) -> None:
        self.errors = list(errors)
        super().__init__("\n".join(self.errors))


class Flag:
    """One flag that a command knows.

    Args:
        name: without dashes.
        text: what it does, one or two sentences.
        value: the word that stands for its value in the help; empty for a boolean.
        many: it may be given several times, and its values are collected in order.
        integer: the value is a decimal integer.
        secret: its value never appears in an error.
        aliases: other names for the same thing, not shown in the help.
        hidden: accepted for compatibility and not shown in the help.
    """

    __slots__ = ("aliases", "hidden", "integer", "many", "name", "secret", "text", "value")

    def __init__(
        self,
        name: str,
        text: str,
        *,
        value: str = "",
        many: bool = False,
        integer: bool = False,
        secret: bool = False,
        aliases: tuple[str, ...] = (),
        hidden: bool = False,
    ) -> None:
        self.name = name
        self.text = text
        self.value = value
        self.many = many
        self.integer = integer
        self.secret = secret
        self.aliases = aliases
        self.hidden = hidden

    def convert(self, text: str) -> str | int | bool:
        """The value of this flag from its text.

        Raises:
            UsageError: the text does not fit.
        """
        shown = "(hidden)" if self.secret else f'"{text}"'
        if not self.value:
            found = parse_bool(text)
            if found is None:
                raise UsageError([f"flag -{self.name}: invalid boolean {shown}, use true or false"])
            return found
        if self.integer:
            digits = text[1:] if text[:1] in {"-", "+"} else text
            if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
                raise UsageError([f"flag -{self.name}: invalid number {shown}"])
            return int(text)
        return text


FORMAT = Flag("format", "Form of the output: text or json (default text).", value="form")
HELP = Flag("help", "Show this text.", aliases=("h",), hidden=True)


class ParsedFlags:
    """What a command line says.

    Attributes:
        values: flag name to value; a flag that was not given is absent.
        args: the positional arguments.
        errors: one complete sentence per mistake, in the order of the command line.
        given: (name, value) of every flag, in that order.
    """

    __slots__ = ("args", "errors", "given", "values")

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.args: list[str] = []
        self.errors: list[str] = []
        self.given: list[tuple[str, Any]] = []

    def text(self, name: str, default: str = "") -> str:
        """The value of a flag that takes text."""
        return str(self.values.get(name, default))

    def on(self, name: str) -> bool:
        """Whether a boolean flag is set."""
        return bool(self.values.get(name, False))

    def list(self, name: str) -> list[str]:
        """The values of a flag that may be given several times."""
        return list(self.values.get(name, ()))


def parse_bool(text: str) -> bool | None:
    """A boolean in one of the spellings that Go accepts, or None."""
    return True if text in _TRUE else False if text in _FALSE else None


def parse_flags(
    flags: Sequence[Flag], argv: Sequence[str], *, flags_first: bool = False
) -> ParsedFlags:
    """Read a command line; mistakes are listed in the result's `errors`, the rest is still read.

    A scalar given twice takes its last value, as in Go.

    Args:
        flags: that are known.
        argv: the command line.
        flags_first: the first positional argument ends the flags, as in Go.
    """
    known = {name: flag for flag in flags for name in (flag.name, *flag.aliases)}
    parsed = ParsedFlags()
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word == "--":
            parsed.args += rest
            break
        if word.startswith("-") and word != "-":
            try:
                _read_flag(word[2:] if word.startswith("--") else word[1:], rest, known, parsed)
            except UsageError as error:
                parsed.errors += error.errors
        else:
            parsed.args.append(word)
            if flags_first:
                parsed.args += rest
                break
    return parsed


def _read_flag(word: str, rest: list[str], known: Mapping[str, Flag], parsed: ParsedFlags) -> None:
    """Read one flag, `word` without its dashes, taking its value from `rest` when it needs one."""
    name, equals, text = word.partition("=")
    flag = known.get(name)
    if flag is None:
        if not equals and rest and not rest[0].startswith("-"):
            text = rest.pop(0)  # most likely its value: one mistake, one error
        raise UsageError([_unknown(name, text, known)])
    if not equals:
        if flag.value and not rest:
            raise UsageError([f"flag -{name}: needs a value: -{name}=<{flag.value}>"])
        text = rest.pop(0) if flag.value else "true"
    value = flag.convert(text)
    parsed.given.append((flag.name, value))
    if flag.many:
        parsed.values.setdefault(flag.name, []).append(value)
    else:
        parsed.values[flag.name] = value


def _unknown(name: str, text: str, known: Iterable[str]) -> str:
    value = f' (value "{text}")' if text and not looks_secret(name) else ""
    return f"unknown flag -{name}{value}{suggest(name, known, dash=True)}"


def looks_secret(name: str) -> bool:
    """Whether a name, perhaps misspelt, may belong to a value that has to stay out of messages."""
    lowered = name.lower()
    return any(word in lowered for word in _SECRET_WORDS) or bool(suggest(lowered, _SECRETS))


def suggest(word: str, choices: Iterable[str], *, dash: bool = False) -> str:
    """``; did you mean "…"?`` with the nearest of the choices, or nothing when none is near."""
    import difflib  # noqa: PLC0415 - only mistakes pay for it

    near = difflib.get_close_matches(word, list(choices), n=1)
    if not near:
        return ""
    return f"; did you mean -{near[0]}?" if dash else f'; did you mean "{near[0]}"?'


def wrap(text: str, indent: str) -> str:
    """The text in lines of at most 78 characters, each behind `indent`."""
    lines, line = [], indent
    for word in text.split():
        if len(line) + len(word) + 1 > _WIDTH and line.strip():
            lines.append(line.rstrip())
            line = indent
        line += f"{word} "
    return "\n".join([*lines, line.rstrip()])


def describe_flags(flags: Iterable[Flag]) -> str:
    """The option part of a help text, sorted by name."""
    shown = sorted((flag for flag in flags if not flag.hidden), key=lambda flag: flag.name)
    parts = []
    for flag in shown:
        head = f"  -{flag.name}=<{flag.value}>" if flag.value else f"  -{flag.name}"
        text = flag.text + (" Can be given several times." if flag.many else "")
        parts.append(f"{head}\n{wrap(text, '     ')}\n")
    return "\n".join(parts)
