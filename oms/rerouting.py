"""Orders that leave a place that closes, or an article that is recalled: what becomes of each."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from pydantic import Field

from oms.ports import Message
from oms.words import count_of, is_or_are


class Outcome(StrEnum):
    """What became of one order.

    `kept`: a place has picked units already, or a customer was to collect there; a person decides.
    `asked`: a place works on it, and was asked to stop; others serve it once it has. `held`: others
    serve it once its hold is lifted. `cancelled`, `backordered`: nothing else could serve it, and
    the order allows no backorder, or does. `moved`: others serve it. `nothing`: it had left before.
    `failed`: a fault of ours.
    """

    KEPT = "kept"
    ASKED = "asked"
    HELD = "held"
    CANCELLED = "cancelled"
    BACKORDERED = "backordered"
    MOVED = "moved"
    NOTHING = "nothing"
    FAILED = "failed"


class Rerouted(Message):
    """What became of one order, in a word and in words."""

    outcome: Outcome
    detail: str


class RerouteProgress(Message):
    """How far a reroute is. `left`: orders that are still to be looked at; `done` by outcome."""

    status: str
    left: int = 0
    done: dict[str, int] = Field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be done, ever."""
        return self.status in ("done", "cancelled")

    @property
    def words(self) -> str:
        """The same for people."""
        counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(self.done.items()))
        done = count_of(sum(self.done.values()), "order")
        return f"{done} done ({counts or 'none'}), {self.left} left"


class RerouteBook(Protocol):
    """Reroutes in SQL: each method is a transaction, or a few, and safe to repeat."""

    async def orders_to_reroute(self, id: str, *, again: bool) -> Sequence[str]:
        """The next orders to look at; with `again`, after them those that failed once."""
        ...

    async def reroute_goes_on(self, id: str, at: datetime) -> bool:
        """Whether it is running, and nobody paused or stopped it."""
        ...

    async def reroute_order(self, id: str, number: str, at: datetime) -> None:
        """Let an order leave, and keep what became of it."""
        ...

    async def reroute_failed(self, id: str, number: str, fault: str, at: datetime) -> None:
        """Keep that an order met a fault of ours; nothing of it changed."""
        ...

    async def reroute_looked(self, id: str, at: datetime, *, last: bool) -> RerouteProgress:
        """Tell how far it is. It ends here if nothing is left, and this was to be the `last`."""
        ...

    async def steer_reroute(self, id: str, word: str, at: datetime) -> None:
        """Pause, resume or stop it."""
        ...


_WORDS = {
    Outcome.KEPT: "{} already picked, until a person decides",
    Outcome.ASKED: "{} worked on; the place was asked to stop",
    Outcome.HELD: "{} to go elsewhere once the hold is lifted",
    Outcome.CANCELLED: "{} cancelled: nothing else can serve {them}",
    Outcome.BACKORDERED: "{} waiting in the queue",
    Outcome.MOVED: "{} served from elsewhere",
}


def summed_up(units: dict[Outcome, int]) -> Rerouted:
    """Name an order by the worst that became of any of its units; all of it stands in words.

    `units`: by outcome, in any order.
    """
    came_to = [outcome for outcome in _WORDS if units.get(outcome)]
    if not came_to:
        return Rerouted(outcome=Outcome.NOTHING, detail="nothing of it was there any more")
    words = "; ".join(_in_words(outcome, units[outcome]) for outcome in came_to)
    return Rerouted(outcome=came_to[0], detail=words)


def _in_words(outcome: Outcome, units: int) -> str:
    told = f"{count_of(units, 'unit')} {is_or_are(units)}"
    return _WORDS[outcome].format(told, them="it" if units == 1 else "them")
