"""Where the books of stock disagree, what likely caused it, and what would mend it.

Three things tell of a level: the level itself, the sum of its movements, and, for units that are
held or on their way, the orders, transfers and purchase orders behind them. Counts tell of shelves.
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

Kind = Literal["ledger", "holds", "count", "vanished", "excess", "backorder"]

KINDS: dict[Kind, str] = {
    "ledger": "levels that are not what their movements add up to",
    "holds": "units held or expected that nothing behind them explains",
    "count": "shelves that are not what the last count and the movements since say",
    "vanished": "articles with stock that the last snapshot of their place does not name",
    "excess": "more promised than there is",
    "backorder": "backorders that wait although there is stock",
}

NAMED = 5
"""So many orders are named in a cause; those that should move first."""


class Drift(BaseModel):
    """One disagreement. `books` says the level, `expected` what it should be.

    `safe`: the repair needs nobody's judgement, and is made by `--apply`. `count`: the units a
    count should find, where an import of that count is the repair.
    """

    model_config = ConfigDict(frozen=True)

    kind: Kind
    sku: str
    location: str
    bucket: str
    books: int
    expected: int
    cause: str
    repair: str
    safe: bool = False
    count: int | None = None


def level_drift(
    sku: str, location: str, bucket: str, *, level: int, moved: int, behind: int | None
) -> Drift | None:
    """Judge one bucket.

    Args:
        sku: The article.
        location: The place.
        bucket: Which units.
        level: What the level says.
        moved: What the movements add up to.
        behind: What orders, transfers and purchase orders say; None for shelves.
    """
    if level == moved and behind in (None, level):
        return None
    kind: Kind = "ledger" if level != moved else "holds"
    safe = level != moved and behind in (None, moved) and moved >= 0
    if safe:
        expected = moved
        cause = "The level was changed past the ledger: by hand, or by a partial restore."
        repair = "Set the level to what its movements add up to (--apply)."
    elif level != moved:
        expected = moved
        cause = f"The movements add up to {moved}" + (
            "." if behind is None else f", what is behind them to {behind}: the ledger was changed."
        )
        repair = "Keep the database and report it: neither side can be trusted."
    else:
        assert behind is not None
        expected = behind
        cause = "Something was held or given back without its order or transfer: a bug."
        repair = "Keep the database and report it; the key of the last movements names what did it."
    return Drift(
        kind=kind, sku=sku, location=location, bucket=bucket, books=level, expected=expected,
        cause=cause, repair=repair, safe=safe,
    )  # fmt: skip


def count_drift(
    sku: str, location: str, *, books: int, counted: int, since: int, late: Sequence[str]
) -> Drift | None:
    """Compare a shelf with its last count and what has moved since, which explains the rest.

    `late`: keys of what was dated before the count and booked after it.
    """
    expected = counted + since
    if books == expected:
        return None
    by = f": {', '.join(late)}" if late else "; do the clocks agree?"
    return Drift(
        kind="count", sku=sku, location=location, bucket="on_hand", books=books, expected=expected,
        cause=f"{counted} were counted and {since:+} moved since. The rest was dated before the "
        f"count, which had seen it, and booked after it{by}",
        repair="Count it, or import the proposed count.",
        count=max(0, expected),
    )  # fmt: skip


def vanished(sku: str, location: str, *, books: int, since: int, snapshot: str) -> Drift:
    """Tell of an article that the last snapshot of its place does not name."""
    expected = max(0, since)
    return Drift(
        kind="vanished", sku=sku, location=location, bucket="on_hand", books=books,
        expected=expected,
        cause=f"Not in the snapshot {snapshot!r}: sold out there, no longer kept there, or left "
        "out of the export.",
        repair="Look at the shelf, then import the proposed count.",
        count=expected,
    )  # fmt: skip


def excess(sku: str, location: str, *, on_hand: int, held: int, orders: Sequence[str]) -> Drift:
    """Tell of a place that promised more than it holds. `orders`: the youngest first."""
    return Drift(
        kind="excess", sku=sku, location=location, bucket="allocated", books=held,
        expected=on_hand,
        cause=f"A count or a short pick found less than was promised{_by(orders)}.",
        repair="Reroute the youngest (POST /v1/orders/{number}/reroute), or count again.",
    )  # fmt: skip


def waiting(
    sku: str, location: str, *, backordered: int, free: int, orders: Sequence[str]
) -> Drift:
    """Tell of backorders where there is stock. `orders`: the oldest first."""
    return Drift(
        kind="backorder", sku=sku, location=location, bucket="backordered", books=backordered,
        expected=max(0, backordered - free),
        cause="No worker releases them (oms doctor), or they are held, wait to be sent together, "
        f"or are preorders{_by(orders)}.",
        repair="Nothing, or reroute the oldest (POST /v1/orders/{number}/reroute).",
    )  # fmt: skip


def _by(orders: Sequence[str]) -> str:
    more = ", …" if len(orders) > NAMED else ""
    return f" ({', '.join(orders[:NAMED])}{more})" if orders else ""
