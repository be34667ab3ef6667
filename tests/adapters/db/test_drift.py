"""Drift is planted, found, explained, and mended where that needs nobody's judgement."""

from datetime import timedelta

from sqlalchemy import text

from adapters.db.adjustments import Adjustment, adjust
from adapters.db.drift import REPAIRED, Looked, find_drift, mend
from adapters.db.importing import Applied, apply_import
from adapters.db.imports import Kind, Missing, StagedRow, open_import, put_part
from adapters.db.stock import StockChange
from oms.drift import Drift
from tests.adapters.db.stockroom import NOW, Stockroom

MINUTE = timedelta(minutes=1)


async def looks(stockroom: Stockroom, location: str | None = None) -> Looked:
    async with stockroom.db.begin() as tx:
        return await find_drift(tx, location=location)


async def imports(
    stockroom: Stockroom,
    kind: Kind,
    rows: dict[tuple[str, str], int],
    *,
    minute: int,
    missing: Missing = "report",
) -> None:
    at = NOW + minute * MINUTE
    async with stockroom.db.begin() as tx:
        opened = await open_import(
            tx, scope="", reference=f"{kind} {minute} {rows}", kind=kind, missing=missing,
            location="lyon" if kind == "snapshot" else None, taken_at=at, now=at,
        )  # fmt: skip
        assert isinstance(opened, tuple)
        sent = [StagedRow(sku, place, units, None) for (sku, place), units in rows.items()]
        await put_part(tx, opened[0], 1, sent, b"content")
        done = await apply_import(tx, opened[0].id, rows=len(rows), now=at)
    assert isinstance(done, Applied)
    assert done.stored.state == "applied"


async def by_hand(stockroom: Stockroom, *statements: str) -> None:
    async with stockroom.db.begin() as tx:
        for statement in statements:
            await tx.execute(text(statement))


def told(looked: Looked) -> list[tuple[str, str, str, str, int, int]]:
    return [(d.kind, d.sku, d.location, d.bucket, d.books, d.expected) for d in looked.found]


async def mends(stockroom: Stockroom, looked: Looked) -> tuple[Drift, ...]:
    async with stockroom.db.begin() as tx:
        return await mend(tx, looked.found, actor="ada", reason="ticket 7", at=NOW)


async def test_honest_books_have_not_drifted(stockroom: Stockroom) -> None:
    await stockroom.holds("LAMP", "lyon", 4)
    await imports(stockroom, "snapshot", {("LAMP", "lyon"): 6}, minute=1)
    await imports(stockroom, "deltas", {("LAMP", "lyon"): -2}, minute=2)
    await imports(stockroom, "counts", {("LAMP", "nice"): 3}, minute=3)

    looked = await looks(stockroom)

    assert looked.found == ()
    assert (looked.counted, looked.moved_since) == (2, 1), "two left since Lyon was counted"


async def test_a_level_changed_by_hand_is_found_and_set_to_its_movements(
    stockroom: Stockroom,
) -> None:
    await stockroom.holds("LAMP", "lyon", 4)
    await stockroom.holds("MUG", "nice", 2)
    await by_hand(
        stockroom,
        "UPDATE stock_levels SET on_hand = 40 WHERE sku = 'LAMP'",
        "DELETE FROM stock_levels WHERE sku = 'MUG'",
    )

    looked = await looks(stockroom)
    mended = await mends(stockroom, looked)

    assert told(looked) == [
        ("ledger", "LAMP", "lyon", "on_hand", 40, 4),
        ("ledger", "MUG", "nice", "on_hand", 0, 2),
    ]
    assert mended == looked.found
    assert (await looks(stockroom)).found == ()
    assert await stockroom.level("MUG", "nice") == {"on_hand": 2}
    assert await stockroom.adds_up()
    async with stockroom.db.begin() as tx:
        events = await tx.execute(
            text("SELECT sku, data FROM stock_events WHERE kind = :kind ORDER BY sku"),
            {"kind": REPAIRED},
        )
        assert [tuple(row) for row in events] == [
            ("LAMP", {"bucket": "on_hand", "was": 40, "actor": "ada", "reason": "ticket 7"}),
            ("MUG", {"bucket": "on_hand", "was": 0, "actor": "ada", "reason": "ticket 7"}),
        ]


async def test_what_has_moved_since_somebody_looked_is_not_lost_by_the_repair(
    stockroom: Stockroom,
) -> None:
    await stockroom.holds("LAMP", "lyon", 4)
    await by_hand(stockroom, "UPDATE stock_levels SET on_hand = 40 WHERE sku = 'LAMP'")
    looked = await looks(stockroom)
    await stockroom.counts("later", "LAMP", "lyon", off_by=-1)

    await mends(stockroom, looked)

    assert await stockroom.level("LAMP", "lyon") == {"on_hand": 3}


async def test_units_held_for_nobody_are_found_and_left_to_a_person(stockroom: Stockroom) -> None:
    await stockroom.holds("LAMP", "lyon", 4)
    await stockroom.change("lost", StockChange(sku="LAMP", location="lyon", allocated=1))

    looked = await looks(stockroom)

    assert told(looked) == [("holds", "LAMP", "lyon", "allocated", 1, 0)]
    assert await mends(stockroom, looked) == ()
    assert await looks(stockroom) == looked


async def test_a_correction_booked_after_the_count_that_had_seen_it_is_drift(
    stockroom: Stockroom,
) -> None:
    await stockroom.holds("LAMP", "lyon", 9)
    await imports(stockroom, "counts", {("LAMP", "lyon"): 6}, minute=5)
    await imports(stockroom, "deltas", {("LAMP", "lyon"): 2}, minute=6)

    async with stockroom.db.begin() as tx:
        opened = await open_import(
            tx, scope="", reference="the morning's", kind="deltas", location=None,
            taken_at=NOW + 3 * MINUTE, missing="report", now=NOW + 7 * MINUTE,
        )  # fmt: skip
        assert isinstance(opened, tuple)
        await put_part(tx, opened[0], 1, [StagedRow("LAMP", "lyon", -3, "sold")], b"content")
        await apply_import(tx, opened[0].id, rows=1, now=NOW + 7 * MINUTE)
    (drift,) = (await looks(stockroom)).found

    assert (drift.kind, drift.books, drift.expected, drift.count) == ("count", 5, 8, 8)
    assert "6 were counted and +2 moved since" in drift.cause
    assert opened[0].key in drift.cause
    assert not drift.safe
    await imports(stockroom, "counts", {("LAMP", "lyon"): 8}, minute=9)
    assert (await looks(stockroom)).found == ()


async def test_what_vanished_is_told_until_it_is_counted(stockroom: Stockroom) -> None:
    await stockroom.holds("LAMP", "lyon", 4)
    await stockroom.holds("MUG", "lyon", 2)
    await stockroom.holds("SOFA", "lyon", 1)
    await imports(stockroom, "snapshot", {("LAMP", "lyon"): 4}, minute=1)

    looked = await looks(stockroom)

    assert told(looked) == [
        ("vanished", "MUG", "lyon", "on_hand", 2, 0),
        ("vanished", "SOFA", "lyon", "on_hand", 1, 0),
    ]
    assert [drift.count for drift in looked.found] == [0, 0]
    assert (await looks(stockroom, "nice")).found == ()
    await imports(stockroom, "counts", {("MUG", "lyon"): 0}, minute=2)
    async with stockroom.db.begin() as tx:
        found = Adjustment(sku="SOFA", location="lyon", set_to=3, reason="count")
        await adjust(tx, [found], key="found", at=NOW + 2 * MINUTE)
    assert (await looks(stockroom)).found == ()


async def test_what_a_snapshot_put_to_zero_has_not_drifted(stockroom: Stockroom) -> None:
    await imports(stockroom, "counts", {("MUG", "lyon"): 2}, minute=1)
    await imports(stockroom, "snapshot", {("LAMP", "lyon"): 4}, minute=2, missing="zero")

    assert await stockroom.level("MUG", "lyon") == {}
    assert (await looks(stockroom)).found == ()


async def test_an_older_count_that_came_late_has_not_drifted(stockroom: Stockroom) -> None:
    await imports(stockroom, "counts", {("LAMP", "lyon"): 5}, minute=5)
    await imports(stockroom, "counts", {("LAMP", "lyon"): 9}, minute=1)

    assert await stockroom.level("LAMP", "lyon") == {"on_hand": 5}
    assert (await looks(stockroom)).found == ()


async def test_more_promised_than_there_is_and_backorders_beside_stock_are_told(
    stockroom: Stockroom,
) -> None:
    await stockroom.holds("LAMP", "lyon", 4)
    await stockroom.holds("MUG", "lyon", 4)
    await stockroom.change(
        "held",
        StockChange(sku="LAMP", location="lyon", allocated=5),
        StockChange(sku="MUG", location="lyon", backordered=2),
    )

    found = [each for each in told(await looks(stockroom)) if each[0] not in ("ledger", "holds")]

    assert found == [
        ("excess", "LAMP", "lyon", "allocated", 5, 4),
        ("backorder", "MUG", "lyon", "backordered", 2, 0),
    ]
