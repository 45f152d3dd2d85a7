"""What an experiment writes down: when applications were told what, and who was suspected when."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gossip.events import MemberFailed, MemberLeft, UserEvent
from gossip.swim.members import Status
from simulations.watch import Watch

if TYPE_CHECKING:
    from gossip.events import Event
    from simulations.host import Host
    from simulations.watch import Transition

__all__ = ["Recorder", "Suspected", "Told"]


class Told(NamedTuple):
    """A node told its application something."""

    at: float
    observer: str
    kind: type[MemberFailed | MemberLeft | UserEvent]
    subject: str
    """The member, or the event's name."""
    payload: bytes = b""


class Suspected(NamedTuple):
    """A node began to suspect a member."""

    at: float
    observer: str
    subject: str


class Recorder(Watch):
    """Watches a world without checking anything.

    Args:
        kinds: events to note; others pass.
        suspicions: note them as well, which costs a look at every handler's work.
    """

    def __init__(
        self, *kinds: type[MemberFailed | MemberLeft | UserEvent], suspicions: bool = False
    ) -> None:
        super().__init__(())
        self.told_events: list[Told] = []
        self.suspected: list[Suspected] = []
        self.stream_bytes = 0
        self._kinds = kinds
        self._suspicions = suspicions

    def started(self, host: Host) -> None:
        """A process started; its application's inbox is ours."""
        host.keep_events = False
        if self._suspicions:
            super().started(host)

    def told(self, host: Host, event: Event) -> None:
        """An application was told something."""
        if not isinstance(event, self._kinds):
            return
        now, observer = self.world.now, host.name
        match event:
            case UserEvent():
                self.told_events.append(Told(now, observer, UserEvent, event.name, event.payload))
            case MemberFailed() | MemberLeft():
                self.told_events.append(Told(now, observer, type(event), event.member.name))

    def changed(self, change: Transition) -> None:
        """A view changed."""
        before, after = change.before, change.after
        was = before is not None and before.status is Status.SUSPECT
        if after is not None and after.status is Status.SUSPECT and not was:
            self.suspected.append(Suspected(self.world.now, change.observer.name, change.subject))

    def stream_sent(self, host: Host, data: bytes) -> None:  # noqa: ARG002 - whoever it was
        """A node wrote to a stream."""
        self.stream_bytes += len(data)

    def crashed(self, host: Host, text: str) -> None:
        """The core raised an error: there is no experiment any more."""
        raise AssertionError(f"{host.name} crashed:\n{text}")

    def forget(self) -> None:
        """Begin a new page."""
        self.told_events.clear()
        self.suspected.clear()
