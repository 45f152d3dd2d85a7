"""Answers that are errors: a status and a bare line of text, as Consul gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["HttpError"]


class HttpError(Exception):
    """The request ends here with this answer.

    Attributes:
        status: HTTP status.
        text: body, without a newline at its end.
        headers: further headers of the answer.
    """

    def __init__(
        self, status: int, text: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(f"{status} {text}")
        self.status = status
        self.text = text
        self.headers = dict(headers or {})
