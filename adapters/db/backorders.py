"""The queue of backordered orders in the books: read, decided, and served one order at a time."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Container, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from adapters.db.availability import COMING, LEFT, ON_SALE, PLACES
from adapters.db.releases import OF_A_RELEASE, record_release
from adapters.db.routing import fill_backorders
from adapters.db.routing_decisions import record_decision
from adapters.db.sourcing import lying_for_queue, wants
from adapters.db.unit import OrderUnit
from oms.backorders import (
    BackorderPolicy,
    Buyer,
    Coming,
    Decision,
    InTheQueue,
    Release,
    Waiting,
    WaitingLine,
    blocked_by,
    decide,
    in_order,
    place_of,
)
from oms.orders import Order
from oms.policy import Policy

# --- the policy -----------------------------------------------------------------------------

_POLICIES = (
    "SELECT policy, segments, patience_days, version, actor, at FROM backorder_policies"
    " WHERE CAST(:before AS int) IS NULL OR version < :before ORDER BY version DESC LIMIT :limit"
)


@dataclass(frozen=True)
class PolicySet:
    """A version of the policy, and who set it when; nobody, where it is the default."""

    policy: BackorderPolicy
    actor: str | None = None
    at: datetime | None = None


@dataclass(frozen=True)
class Changed:
    """Nothing was set: the version is not the one the writer knew."""


async def read_policy(tx: AsyncConnection) -> BackorderPolicy:
    """The policy that stands."""
    history = await policy_history(tx, before=None, limit=1)
    return history[0].policy if history else BackorderPolicy()


async def policy_history(tx: AsyncConnection, *, before: int | None, limit: int) -> list[PolicySet]:
    """All versions, newest first; `before` is the last version seen."""
    found = await tx.execute(text(_POLICIES), {"before": before, "limit": limit})
    return [
        PolicySet(
            BackorderPolicy(
                policy=row.policy,
                segments=tuple(row.segments),
                patience_days=row.patience_days,
                version=row.version,
            ),
            row.actor,
            row.at,
        )
        for row in found
    ]


async def set_policy(
    tx: AsyncConnection,
    policy: BackorderPolicy,
    *,
    actor: str,
    at: datetime,
    if_version: int | None = None,
) -> BackorderPolicy | Changed:
    """Add a version of the policy; the next release goes by it. The ones before it stay."""
    # One at a time: two at once would give the same number.
    await tx.execute(text("LOCK TABLE backorder_policies IN SHARE ROW EXCLUSIVE MODE"))
    before = (await read_policy(tx)).version
    if if_version not in (None, before):
        return Changed()
    made = policy.model_copy(update={"version": before + 1})
    await tx.execute(
        text(
            "INSERT INTO backorder_policies (version, policy, segments, patience_days, actor, at)"
            " VALUES (:version, :policy, :segments, :patience_days, :actor, :at)"
        ),
        made.model_dump() | {"segments": list(made.segments), "actor": actor, "at": at},
    )
    await tx.execute(text("NOTIFY oms_backorders"))
    return made


_BROKEN = "serving it failed, which is a fault of ours"

# --- the queue ------------------------------------------------------------------------------

_STOCKED = text(
    f"""
SELECT DISTINCT b.sku FROM stock_levels b
WHERE b.backordered > 0 AND EXISTS (
    SELECT FROM stock_levels s WHERE s.sku = b.sku AND ({LEFT}) > 0 AND {ON_SALE})
"""
)

_QUEUE = text(
    """
WITH asked AS (
    SELECT DISTINCT order_number FROM reservations
    WHERE state = 'open' AND kind = 'backorder' AND sku = ANY(CAST(:skus AS text[]))
), w AS (
    SELECT order_number, min(since) AS since,
        json_agg(json_build_array(line, r.sku, quantity, l.kit, l.unit_price_minor)) AS lines
    FROM reservations r JOIN order_lines l USING (order_number, line)
    WHERE state = 'open' AND kind = 'backorder'
        AND order_number IN (SELECT order_number FROM asked) GROUP BY 1
)
SELECT o.number, o.channel, o.method, o.pickup_location, o.latitude, o.longitude, o.allow_split,
    o.customer_segment, o.country, o.currency, o.total_minor - o.shipping_minor AS goods_minor,
    o.confirmed_at IS NOT NULL AS confirmed, w.since, w.lines,
    array(SELECT reason FROM holds h WHERE h.order_number = o.number AND h.released_at IS NULL)
        AS holds,
    (SELECT coalesce(json_agg(json_build_array(line, location)), '[]') FROM turned_down t
        WHERE t.order_number = o.number) AS turned_down,
    CASE WHEN NOT o.allow_split THEN array(
        SELECT location FROM allocations a WHERE a.order_number = o.number AND a.state = 'open'
        UNION SELECT location FROM fulfillment_orders f
        WHERE f.order_number = o.number AND f.status = 'closed') END AS serving
FROM w JOIN orders o ON o.number = w.order_number
"""
)


@asynccontextmanager
async def one_moment(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection whose questions are all answered of the same moment."""
    async with engine.connect() as plain:
        yield await plain.execution_options(isolation_level="REPEATABLE READ")


async def stocked_skus(tx: AsyncConnection) -> list[str]:
    """Articles that orders wait for and that lie somewhere, ready to be sent."""
    return list(await tx.scalars(_STOCKED))


async def read_queue(tx: AsyncConnection, skus: Iterable[str]) -> list[Waiting]:
    """Every order that waits for any of the articles, with all that it waits for."""
    found = await tx.execute(_QUEUE, {"skus": sorted(set(skus))})
    return [_waiting(row) for row in found]


def _waiting(row: Any) -> Waiting:
    units: Counter[tuple[int, str, str | None, int]] = Counter()
    for line, sku, quantity, kit, price in row.lines:
        units[(line, sku, kit, price)] += quantity
    refused: dict[int, set[str]] = defaultdict(set)
    for line, location in row.turned_down:
        refused[line].add(location)
    known = row.latitude is not None and row.longitude is not None
    return Waiting(
        order=row.number,
        since=row.since,
        lines=tuple(
            WaitingLine(line, sku, quantity, frozenset(refused[line]), kit, price)
            for (line, sku, kit, price), quantity in sorted(units.items())
        ),
        buyer=Buyer(row.channel, row.method, row.pickup_location),
        segment=row.customer_segment,
        blocked=blocked_by(confirmed=row.confirmed, holds=row.holds),
        point=(row.latitude, row.longitude) if known else None,
        allow_split=row.allow_split,
        only=frozenset(row.serving) if row.serving else None,
        country=row.country,
        currency=row.currency,
        value_minor=row.goods_minor,
    )


async def read_decision(
    tx: AsyncConnection,
    skus: Sequence[str],
    now: datetime,
    promised_by: Policy,
    *,
    most: int | None = None,
    broken: Container[str] = (),
) -> Decision:
    """Decide who gets what of these articles, up to `most` releases. `tx` sees one moment.

    `broken`: orders that could not be served just now, which no other waits for. `promised_by`:
    what dates are counted by, where the routing rules ask for days.
    """
    policy = await read_policy(tx)
    queue = [
        replace(each, blocked=_BROKEN) if each.order in broken else each
        for each in (await read_queue(tx, skus) if skus else [])
    ]
    wanted = {sku for each in queue for sku in each.skus}
    buyers = {each.buyer for each in queue}
    router, lying = await lying_for_queue(tx, wanted, buyers, now, promised_by)
    # Apart from the event loop, which has other work than a long queue.
    return await asyncio.to_thread(decide, policy, queue, lying, now, router, most=most)


_COMING = text(
    f"""
SELECT s.location, sum(s.quantity)::bigint AS quantity, s.expected_at
FROM {COMING} s JOIN {PLACES} WHERE s.sku = :sku AND s.expected_at >= :now
GROUP BY s.location, s.expected_at ORDER BY s.expected_at, s.location LIMIT 5
"""
)


async def places_in_the_queue(
    tx: AsyncConnection, order: Order, now: datetime
) -> tuple[InTheQueue, ...]:
    """Where an order's backordered units stand, and what is coming; one for each article."""
    skus = sorted({line.sku for line in order.lines if line.backordered})
    if not skus or order.confirmed_at is None:
        return ()
    policy = await read_policy(tx)
    queue = in_order(policy, await read_queue(tx, skus))
    sights = [await _sight(tx, order, sku, queue, policy, now) for sku in skus]
    return tuple(each for each in sights if each is not None)


async def _sight(
    tx: AsyncConnection,
    order: Order,
    sku: str,
    queue: Sequence[Waiting],
    policy: BackorderPolicy,
    now: datetime,
) -> InTheQueue | None:
    stands = place_of(order.number, sku, queue)
    if stands is None:
        return None  # it got them while we looked
    who = {
        "channel": order.channel,
        "methods": [order.method],
        "only": order.pickup_location,
        "sku": sku,
        "now": now,
    }
    day = await tx.scalar(
        text("SELECT available_from FROM products WHERE sku = :sku AND available_from > :now"),
        {"sku": sku, "now": now},
    )
    return InTheQueue(
        sku=sku,
        units=sum(line.backordered for line in order.lines if line.sku == sku),
        place=stands[0],
        waiting=stands[1],
        since=next(each.since for each in queue if each.order == order.number),
        rule=policy.words,
        coming=tuple(Coming(**row._mapping) for row in await tx.execute(_COMING, who)),
        available_from=day,
    )


# --- served ---------------------------------------------------------------------------------


async def release_units(unit: OrderUnit, release: Release, policy: BackorderPolicy) -> bool:
    """Give an order what was decided; False, with nothing written, if it can not be any more."""
    order = unit.order
    waiting = [each for each in order.reservations if each.kind == "backorder"]
    holds = [hold.reason for hold in order.open_holds]
    blocked = blocked_by(confirmed=order.confirmed_at is not None, holds=holds)
    if blocked is not None or not _still_waits(release, Counter(_units(waiting))):
        return False
    stock = wants(release.picks, release.buffers, "allocated", for_queue=True)
    if not await fill_backorders(unit, waiting, release.picks, stock, cause=OF_A_RELEASE):
        return False
    record_release(unit, release, policy)
    record_decision(unit, release.record, "release")
    unit.tell("order.backorder_released", _words(release), **_data(release, policy))
    unit.nudge_order("backorder released")
    await unit.flush("released")
    return True


def _units(waiting: Iterable[Any]) -> dict[int, int]:
    units: dict[int, int] = defaultdict(int)
    for each in waiting:
        units[each.line] += each.quantity
    return units


def _still_waits(release: Release, waiting: Counter[int]) -> bool:
    return Counter(_units(release.picks)) <= waiting


def _words(release: Release) -> str:
    """For the order's own timeline: of others only how many they are."""
    units = sum(pick.quantity for pick in release.picks)
    places = ", ".join(sorted({pick.location for pick in release.picks}))
    turns = "; ".join(
        f"{sku} {standing.place} of {standing.waiting} in the queue"
        for sku, standing in sorted(release.standings.items())
        if any(pick.sku == sku for pick in release.picks)
    )
    return f"{units} backordered units released at {places}: {turns} ({release.reason})"


def _data(release: Release, policy: BackorderPolicy) -> dict[str, Any]:
    return {
        "policy": policy.policy,
        "policy_version": policy.version,
        "since": release.since.isoformat(),
        "releases": [
            {
                "line": pick.line,
                "sku": pick.sku,
                "location": pick.location,
                "units": pick.quantity,
                "place": release.standings[pick.sku].place,
                "waiting": release.standings[pick.sku].waiting,
            }
            for pick in release.picks
        ],
    }
