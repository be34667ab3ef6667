import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from adapters.db import importing
from adapters.db.importing import Applied, apply_import
from adapters.db.imports import Import, Kind, Missing, StagedRow, open_import, put_part
from adapters.db.relaying import sweep_technical
from adapters.db.stock import Taken, Want
from tests.adapters.db.stockroom import NOW, Stockroom

LATER = NOW + timedelta(minutes=5)


async def staged(
    stockroom: Stockroom,
    rows: dict[tuple[str, str], int],
    *,
    kind: Kind = "counts",
    location: str | None = None,
    missing: Missing = "report",
    reference: str = "night",
) -> Import:
    async with stockroom.db.begin() as tx:
        opened = await open_import(
            tx, scope="", reference=reference, kind=kind, location=location, missing=missing,
            taken_at=None, now=LATER,
        )  # fmt: skip
        assert isinstance(opened, tuple)
        sent = [StagedRow(sku, place, units, None) for (sku, place), units in rows.items()]
        await put_part(tx, opened[0], 1, sent, b"content")
    return opened[0]


async def applies(stockroom: Stockroom, stored: Import, *, rows: int) -> Import:
    async with stockroom.db.begin() as tx:
        outcome = await apply_import(tx, stored.id, rows=rows, now=LATER)
    assert isinstance(outcome, Applied)
    return outcome.stored


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("stage", ["_stage", "_find_what_moves", "_lock", "_move", "_finish"])
async def test_wherever_applying_dies_nothing_was_done_and_again_all_is(
    stockroom: Stockroom, monkeypatch: pytest.MonkeyPatch, stage: str, when: str
) -> None:
    await stockroom.holds("LAMP", "lyon", 4)
    await stockroom.holds("SOFA", "lyon", 2)
    stored = await staged(
        stockroom, {("LAMP", "lyon"): 9, ("MUG", "lyon"): 1},
        kind="snapshot", location="lyon", missing="zero",
    )  # fmt: skip
    honest = getattr(importing._Application, stage)

    async def dies(self: importing._Application, *arguments: object, **named: object) -> object:
        if when == "after":
            await honest(self, *arguments, **named)
        raise ConnectionResetError("the process is gone")

    with monkeypatch.context() as patched:
        patched.setattr(importing._Application, stage, dies)
        with pytest.raises(ConnectionResetError):
            await applies(stockroom, stored, rows=2)

    assert await stockroom.level("LAMP", "lyon") == {"on_hand": 4}
    assert await stockroom.level("MUG", "lyon") == {}
    assert (await applies(stockroom, stored, rows=2)).moved == 3
    assert await stockroom.level("LAMP", "lyon") == {"on_hand": 9}
    assert await stockroom.level("MUG", "lyon") == {"on_hand": 1}
    assert await stockroom.level("SOFA", "lyon") == {}
    assert await stockroom.adds_up()


async def test_a_connection_cut_while_it_waits_for_a_row_leaves_nothing_behind(
    stockroom: Stockroom,
) -> None:
    await stockroom.holds("LAMP", "lyon", 4)
    stored = await staged(stockroom, {("LAMP", "lyon"): 9, ("MUG", "nice"): 1})

    async with stockroom.db.begin() as other:
        await other.execute(text("SELECT FROM stock_levels WHERE sku = 'LAMP' FOR UPDATE"))
        applying = asyncio.create_task(applies(stockroom, stored, rows=2))
        await stockroom.until_waiting(1)
        await other.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
        )
        with pytest.raises(DBAPIError):
            await applying

    assert await stockroom.level("LAMP", "lyon") == {"on_hand": 4}
    assert (await applies(stockroom, stored, rows=2)).moved == 2
    assert await stockroom.level("LAMP", "lyon") == {"on_hand": 9}


async def test_what_leaves_while_a_count_waits_for_the_row_stays_gone(stockroom: Stockroom) -> None:
    await stockroom.holds("LAMP", "lyon", 4)
    stored = await staged(stockroom, {("LAMP", "lyon"): 9})

    async with stockroom.db.begin() as other:
        await other.execute(
            text("UPDATE stock_levels SET on_hand = on_hand - 1 WHERE sku = 'LAMP'")
        )
        await other.execute(
            text(
                "INSERT INTO stock_movements (at, sku, location, bucket, delta, cause, key)"
                " VALUES (:at, 'LAMP', 'lyon', 'on_hand', -1, 'hand_over', 'F1:hand_over')"
            ),
            {"at": LATER + timedelta(seconds=1)},
        )
        applying = asyncio.create_task(applies(stockroom, stored, rows=1))
        await stockroom.until_waiting(1)
    await applying

    assert await stockroom.level("LAMP", "lyon") == {"on_hand": 8}, "9 were counted, one left since"
    assert await stockroom.adds_up()


async def test_only_levels_that_differ_are_locked(stockroom: Stockroom) -> None:
    await stockroom.holds("LAMP", "lyon", 4)
    await stockroom.holds("MUG", "lyon", 4)
    stored = await staged(stockroom, {("LAMP", "lyon"): 4, ("MUG", "lyon"): 5})

    async with stockroom.db.begin() as other:
        await other.execute(text("SELECT FROM stock_levels WHERE sku = 'LAMP' FOR UPDATE"))
        assert (await applies(stockroom, stored, rows=2)).moved == 1


async def test_imports_that_overlap_in_every_order_never_wait_in_a_circle(
    stockroom: Stockroom,
) -> None:
    skus = [f"SKU-{n}" for n in range(40)]
    await stockroom.sells(*skus)
    places = [(sku, place) for sku in skus for place in ("lyon", "nice", "paris")]
    imports = [
        await staged(
            stockroom,
            {place: 1 for place in (places if n % 2 else reversed(places))},
            kind="deltas",
            reference=f"import {n}",
        )
        for n in range(8)
    ]

    await asyncio.gather(*(applies(stockroom, each, rows=len(places)) for each in imports))

    for sku, place in places:
        assert await stockroom.level(sku, place) == {"on_hand": 8}
    assert await stockroom.adds_up()


async def test_who_buys_while_imports_run_never_waits_in_a_circle_and_nothing_is_lost(
    stockroom: Stockroom,
) -> None:
    skus = [f"SKU-{n}" for n in range(30)]
    await stockroom.sells(*skus)
    places = [(sku, place) for sku in skus for place in ("lyon", "nice")]
    for sku, place in places:
        await stockroom.holds(sku, place, 50)
    imports = [
        await staged(stockroom, dict.fromkeys(places, 60 + n), reference=f"count {n}")
        for n in range(4)
    ]

    async def buys(n: int) -> None:
        basket = [Want(sku=sku, location=place, quantity=1) for sku, place in places[n % 7 :: 7]]
        assert isinstance(await stockroom.take(f"order {n}", *reversed(basket)), Taken)

    await asyncio.gather(
        *(applies(stockroom, each, rows=len(places)) for each in imports),
        *(buys(n) for n in range(28)),
    )

    for sku, place in places:
        level = await stockroom.level(sku, place)
        assert level["on_hand"] in (60, 61, 62, 63)
        assert level["reserved"] == 4
    assert await stockroom.adds_up()


async def test_rows_of_applied_imports_are_forgotten_in_time_and_nothing_else(
    stockroom: Stockroom,
) -> None:
    done = await staged(stockroom, {("LAMP", "lyon"): 9}, reference="done")
    waiting = await staged(stockroom, {("LAMP", "nice"): 9}, reference="waiting")
    first = await applies(stockroom, done, rows=1)

    async with stockroom.db.begin() as tx:
        assert await sweep_technical(tx, LATER) == 0
        assert await sweep_technical(tx, LATER + timedelta(seconds=1)) == 1

    assert await applies(stockroom, done, rows=1) == first
    assert (await applies(stockroom, waiting, rows=1)).moved == 1
    assert await stockroom.level("LAMP", "lyon") == {"on_hand": 9}
