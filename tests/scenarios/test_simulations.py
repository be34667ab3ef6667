"""Past orders decided again on the stock as it was: by the same rules, all comes out the same."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from tests.scenarios.working import until_closed
from tests.world import POLICY, World, a_world

NEAREST = {
    "name": "Nearest",
    "currency": "EUR",
    "costs": [{"parcel_minor": 300, "parcel_km_minor": "0.5"}],
    "rules": [{"name": "Nearest", "objective": {"parcel_minor": 1, "unit_km_minor": "1"}}],
}
STORES = NEAREST | {
    "name": "Stores only",
    "rules": [{"name": "Stores", "from": {"kinds": ["store"]}}],
}
PARIS = {"latitude": 48.86, "longitude": 2.35}


@pytest.fixture
async def patient(database_url: str, temporal: Client) -> AsyncIterator[World]:
    """A shop in which orders stay as they were decided: none is released within the test."""
    hour = timedelta(hours=1)
    policy = POLICY.model_copy(update={"grace": hour, "reservation": hour})
    async with a_world(database_url, temporal, policy=policy) as world:
        await world.sells("LAMP")
        await world.has_place("wh-lyon")
        await world.holds("LAMP", "wh-lyon", 10)
        yield world


async def test_by_the_same_rules_every_order_comes_out_as_it_was_decided(
    patient: World, database_url: str, tmp_path: Path
) -> None:
    world = patient
    await world.has_place("store-paris", kind="store", **PARIS)
    await world.sells("MUG")
    await world.holds("MUG", "wh-lyon", 3)
    await world.holds("LAMP", "store-paris", 4)
    await world.holds("MUG", "store-paris", 9)
    policy = {"backorder_limit": 9}
    await world.ok("PUT", "/v1/stock/MUG/wh-lyon/policy", policy)
    await world.ok("PUT", "/v1/routing/rule-sets/ours", NEAREST)
    await world.ok("POST", "/v1/routing/rule-sets/ours/activate", {"version": 1})
    before = (await world.place({"LAMP": 2}))["number"]
    since = datetime.now(UTC)

    await happens(world, before)

    async def simulate(*options: str) -> dict[str, Any]:
        """`oms routing simulate --since`, as JSON."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", "from workers.cli import app; app()", "routing", "simulate"),
            *("--since", since.isoformat(), "--json", *options),
            stdout=asyncio.subprocess.PIPE,
            env=os.environ | {"OMS_DATABASE_URL": database_url, "OMS_HOME": str(tmp_path)},
        )
        told, _ = await process.communicate()
        assert process.returncode == 0
        found: dict[str, Any] = json.loads(told)
        return found

    again = await simulate("--against", "active")
    assert again["changed"] == []
    was, same = again["measured"]
    assert (was["name"], same["source"], same["orders"]) == ("as it was", "ours v1", 7)
    assert (was["served_orders"], was["refused"], was["waiting_units"]) == (6, 1, 2)
    same_counts = ("served_units", "refused", "parcels", "costs", "mean_km", "mean_days")
    assert [was[name] for name in same_counts] == [same[name] for name in same_counts]
    assert again["left_out"] == {"payment_declined": 1}
    assert again["decided_by"] == {"ours v1": 7}
    assert again["days_are"] == "counted as promises are"

    rules = tmp_path / "stores.json"
    rules.write_text(json.dumps(STORES))
    other = await simulate("--rules", str(rules), "--against", "ours:1")
    assert [each["name"] for each in other["measured"]] == ["as it was", "Nearest", "Stores only"]
    assert 0 < other["changed_orders"] < 7
    for change in other["changed"]:
        then, ours, stores = change["outcomes"]
        assert then == ours
        assert {place for _, place, _ in stores["picks"]} <= {"store-paris"}
    await world.audit_is_clean()


async def happens(world: World, before: str) -> None:
    """A day in the shop: orders of every kind, and goods that come and go between them."""
    await world.place({"LAMP": 9, "MUG": 1})
    await world.ok("POST", f"/v1/orders/{before}/cancel", {"reason": "changed their mind"})
    await until_closed(world, before)
    declined = await world.call(
        "POST", "/v1/orders", world.an_order({"LAMP": 1}, token="tok_declined"), who="channel"
    )
    assert declined.status_code == 422
    await until_closed(world, declined.json()["number"])
    too_many = world.an_order({"LAMP": 50})
    assert (await world.call("POST", "/v1/orders", too_many, who="channel")).status_code == 422
    one_place = await world.place({"LAMP": 2, "MUG": 3}, allow_split=False)
    await world.place({"MUG": 8}, allow_backorder=True)
    await world.ok("POST", f"/v1/orders/{one_place['number']}/cancel", {"reason": "too late"})
    await until_closed(world, one_place["number"])
    await world.place({"MUG": 5}, allow_backorder=True)
    gone = [{"sku": "LAMP", "location": "wh-lyon", "delta": -1, "reason": "damage"}]
    came = [{"sku": "LAMP", "location": "store-paris", "delta": 6, "reason": "correction"}]
    await world.ok("POST", "/v1/stock/adjustments", {"adjustments": gone + came})
    delivery = {"method": "store_pickup", "location": "store-paris"}
    await world.place({"LAMP": 1}, delivery=delivery)
    await world.place({"LAMP": 6})
