"""Documents: a ``report.md`` that reads by itself, with its plots beside it, and the same as JSON."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

from simulations import plots

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from simulations.scenario import Bars, Lines

__all__ = ["Document", "join", "plain"]


_IMAGE = re.compile(r"^!\[.*\]\(([\w-]+\.png)\)$", re.MULTILINE)


@dataclass(frozen=True)
class Document:
    """What an experiment has to say.

    Attributes:
        lines: Markdown, with images where plots can be drawn.
        plots: the files of these images, by name.
        data: the same for scripts, as values that `plain` makes JSON of.
    """

    lines: Sequence[str]
    plots: Sequence[tuple[str, Lines | Bars]]
    data: Mapping[str, Any]

    def save(self, folder: Path) -> Path:
        """Write ``report.md``, ``report.json`` and, where matplotlib is installed, the plots.

        They take the place of an earlier report, whose plots go: beside this one they would mislead.

        Returns:
            The path of ``report.md``.

        Raises:
            OSError: the folder or a file cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "report.md"
        if path.exists():
            for file in _IMAGE.findall(path.read_text(errors="replace")):
                (folder / file).unlink(missing_ok=True)
        if plots.available():
            for file, plot in self.plots:
                plots.draw(plot, folder / file)
        text = json.dumps(plain(self.data), indent=2, allow_nan=False)
        (folder / "report.json").write_text(text + "\n")
        path.write_text("\n".join(self.lines) + "\n")
        return path


def join(title: str, opening: str, documents: Mapping[str, Document]) -> Document:
    """One document of several, whose headings go down by a level; its data has theirs by name."""
    lines = [f"# {title}", "", opening]
    for document in documents.values():
        lines += ["", *("#" + line if line.startswith("#") else line for line in document.lines)]
    return Document(
        lines,
        [plot for document in documents.values() for plot in document.plots],
        {name: document.data for name, document in documents.items()},
    )


def plain(value: Any) -> Any:
    """The same without numbers that JSON does not have: infinity and NaN become null."""
    if isinstance(value, float) and not isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
