"""What the books owe is carried, whatever died before; and what is broken stops nothing else."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from adapters.db import master
from adapters.db.book import SqlBook
from adapters.db.engine import connect
from adapters.db.inbound import store_inbound
from adapters.db.incoming import (
    Incoming,
    change_expectation,
    end_expectation,
    expect_incoming,
)
from adapters.db.stock import StockChange, apply_changes
from adapters.db.transfers import NewTransfer, request_transfer
from oms.incoming import Expectation
from oms.policy import Policy
from workers.relay import Relay

NOW = datetime.now(UTC)


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = connect(database_url)
    yield engine
    await engine.dispose()


@pytest.fixture
def relay(engine: AsyncEngine, temporal: Client) -> Relay:
    return Relay(
        engine,
        SqlBook(engine, Policy()),
        temporal,
        task_queue="nobody-listens",
        heal_seconds=1,
        payment_poll_seconds=1,
    )


async def _outcomes(engine: AsyncEngine) -> dict[str, str | None]:
    async with engine.connect() as connection:
        rows = await connection.execute(text("SELECT event_id, outcome FROM inbound_events"))
        return {event: outcome for event, outcome in rows}


async def test_a_webhook_that_cannot_be_read_waits_and_stops_no_other(
    engine: AsyncEngine, relay: Relay
) -> None:
    broken = {"key": "x:y:z", "kind": ["no", "kind"], "status": "failed"}
    unknown = {"key": "AAAA-AAAA-A:capture:1", "kind": "capture", "status": "succeeded"}
    async with engine.begin() as tx:
        for event, body in (("broken", {"nothing": "known"}), ("odd", broken), ("good", unknown)):
            await store_inbound(
                tx, party="payments", source="simulator", event_id=event, body=body, now=NOW
            )

    await relay.apply_inbound()

    assert await _outcomes(engine) == {"broken": None, "odd": "ignored", "good": "ignored"}


async def test_a_signal_to_a_run_that_is_not_there_is_owed_no_longer(
    engine: AsyncEngine, relay: Relay
) -> None:
    async with engine.begin() as tx:
        await tx.execute(
            text("INSERT INTO nudges (workflow_id, reason, at) VALUES ('order/none', 'x', :at)"),
            {"at": NOW},
        )

    await relay.send_nudges()

    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM nudges")) == 0


async def test_an_idempotency_key_is_kept_for_thirty_days(
    engine: AsyncEngine, relay: Relay
) -> None:
    async with engine.begin() as tx:
        for key, age in (("young", 29), ("old", 31)):
            await tx.execute(
                text(
                    "INSERT INTO idempotency_keys"
                    " (credential, key, request_hash, claimed_at, status_code)"
                    " VALUES ('c', :key, 'h', :at, 200)"
                ),
                {"key": key, "at": NOW - timedelta(days=age)},
            )

    await relay.forget()

    async with engine.connect() as connection:
        left = await connection.scalars(text("SELECT key FROM idempotency_keys"))
        assert left.all() == ["young"]


async def _has_lamps_in_paris(engine: AsyncEngine) -> None:
    async with engine.begin() as tx:
        for place in ("paris", "oslo"):
            values: dict[str, Any] = {"name": place, "kind": "store", "country": "FR"}
            values["address"] = {}
            await master.put(tx, master.LOCATIONS, place, values, None)
        await master.put(tx, master.PRODUCTS, "LAMP", {"name": "Lamp"}, None)
        await apply_changes(
            tx,
            [StockChange(sku="LAMP", location="paris", on_hand=5)],
            cause="count",
            key="count",
            at=NOW,
        )


async def test_a_transfer_that_is_late_is_told_once_for_each_date(
    engine: AsyncEngine, relay: Relay
) -> None:
    async def expect(at: datetime) -> None:
        async with engine.begin() as tx:
            await tx.execute(text("UPDATE transfers SET expected_at = :at"), {"at": at})

    await _has_lamps_in_paris(engine)
    async with engine.begin() as tx:
        new = NewTransfer(id="T-1", origin="paris", destination="oslo", lines=(("LAMP", 2),))
        await request_transfer(tx, new, actor="ada", at=NOW)

    told = [await relay.tell_overdue()]
    for days in (-2, 2, -1):
        await expect(NOW + timedelta(days=days))
        told += [await relay.tell_overdue(), await relay.tell_overdue()]

    assert told == [0, 1, 0, 0, 0, 1, 0]
    async with engine.connect() as tx:
        events = await tx.execute(text("SELECT kind, data->>'transfer' FROM stock_events"))
        steps = await tx.execute(text("SELECT kind FROM transfer_events ORDER BY seq"))
        assert [tuple(row) for row in events] == [("transfer.overdue", "T-1")] * 2
        assert [row.kind for row in steps] == ["transfer.requested", *["transfer.overdue"] * 2]


async def test_goods_that_did_not_come_are_told_once_for_each_date(
    engine: AsyncEngine, relay: Relay
) -> None:
    await _has_lamps_in_paris(engine)
    past = NOW - timedelta(days=2)
    async with engine.begin() as tx:
        new = Incoming("LAMP", "paris", 10, past, "PO-1")
        expected = await expect_incoming(tx, new, actor="ada", at=past)
        assert isinstance(expected, Expectation)

    told = [await relay.tell_overdue(), await relay.tell_overdue()]
    async with engine.begin() as tx:
        moved = NOW - timedelta(days=1)
        late = await change_expectation(
            tx, expected, quantity=10, expected_at=moved, actor="ada", at=NOW
        )
    told += [await relay.tell_overdue(), await relay.tell_overdue()]
    async with engine.begin() as tx:
        await end_expectation(tx, late, actor="ada", at=NOW)
    told += [await relay.tell_overdue()]

    assert told == [1, 0, 1, 0, 0]
    async with engine.connect() as tx:
        events = await tx.execute(text("SELECT kind FROM stock_events ORDER BY id"))
        steps = await tx.execute(text("SELECT kind FROM incoming_changes ORDER BY seq"))
        assert [row.kind for row in events] == [
            "incoming.overdue",
            "incoming.changed",
            "incoming.overdue",
            "incoming.cancelled",
        ]
        assert [row.kind for row in steps] == [
            "announced",
            "overdue",
            "changed",
            "overdue",
            "cancelled",
        ]


async def test_a_relay_at_work_tells_who_runs_out(engine: AsyncEngine, relay: Relay) -> None:
    async def told() -> list[tuple[str, str | None]]:
        async with engine.connect() as tx:
            events = await tx.execute(text("SELECT kind, location FROM stock_events ORDER BY id"))
            return [(row.kind, row.location) for row in events]

    await _has_lamps_in_paris(engine)
    working = asyncio.create_task(relay.run())
    async with engine.begin() as tx:
        sold = [StockChange(sku="LAMP", location="paris", on_hand=-5)]
        await apply_changes(tx, sold, cause="hand_over", key="o1", at=NOW)
    async with asyncio.timeout(60):
        while not await told():
            await asyncio.sleep(0.1)
    working.cancel()

    assert sorted(await told(), key=str) == [("stock.out", "paris"), ("stock.out", None)]
    with pytest.raises(asyncio.CancelledError):
        await working
