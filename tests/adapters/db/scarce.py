"""A crowd that orders scarce goods by routing rules, and what must be true of it."""

import random
from collections import Counter
from dataclasses import dataclass

from sqlalchemy import text

from adapters.db.book import SqlBook
from adapters.db.stock import StockChange
from oms.placing import OrderRequest
from oms.rules import RuleSet
from tests.adapters.db.crowds import POLICY, deadlocks, numbers, served, violations
from tests.adapters.db.stockroom import NOW, Stockroom, record

SKUS = [f"WINE-{n}" for n in range(8)] + [f"HOT-{n}" for n in range(8)]
SKUS += [f"TOOL-{n}" for n in range(24)]
WAREHOUSES, STORES = 6, 24

NEAR = {"parcel_minor": 300, "unit_km_minor": "0.01"}
RULES = {
    "name": "Scarce",
    "currency": "EUR",
    "never": [{"why": "no licence", "lines": {"tags": ["wine"]}, "from": {"groups": ["dry"]}}],
    "rules": [
        {
            "name": "Hot from warehouses",
            "lines": {"tags": ["hot"]},
            "from": {"kinds": ["warehouse"]},
            "objective": NEAR,
        },
        {"name": "Stores", "from": {"kinds": ["store"]}, "keep": 1, "objective": NEAR},
        {"name": "Everything", "objective": NEAR},
    ],
}

# What the ledger has for a new order, said apart from what plans it.
_THERE = text(
    """
    SELECT s.sku, sum(greatest(0, s.on_hand - s.reserved - s.allocated))::bigint AS units
    FROM stock_levels s JOIN locations l ON l.id = s.location
    WHERE NOT (s.sku LIKE 'WINE-%' AND 'dry' = ANY(l.groups)) GROUP BY s.sku
    """
)

Wanted = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Outcome:
    """What became of a crowd."""

    served: int
    refused: int
    divided: int


async def a_scarce_stock(stockroom: Stockroom, *, orders: int, drawn: random.Random) -> None:
    """Some thirty places that hold about a third of what so many orders will want."""
    RuleSet.model_validate(RULES)
    await stockroom.sells(*SKUS)
    places = [(f"wh-{n:02d}", "warehouse") for n in range(WAREHOUSES)]
    places += [(f"store-{n:02d}", "store") for n in range(STORES)]
    for id, kind in places:
        at = (43 + drawn.random() * 7, drawn.random() * 7)
        await stockroom.has_place(id, kind=kind, at=at)
    most = max(2, orders * 9 // (3 * len(SKUS) * len(places)) * 2)
    received = [
        StockChange(sku=sku, location=id, on_hand=units)
        for sku in SKUS
        for id, _ in places
        if (units := drawn.randint(0, most))
    ]
    async with stockroom.db.begin() as tx:
        await tx.execute(text("UPDATE locations SET groups = '{dry}' WHERE id LIKE 'store-%1'"))
        for tag in ("wine", "hot"):
            await tx.execute(
                text("UPDATE products SET tags = ARRAY[:tag] WHERE sku LIKE :like"),
                {"tag": tag, "like": f"{tag.upper()}-%"},
            )
        await tx.execute(
            text(
                "INSERT INTO rule_sets (id, version, document, active, created_at)"
                " VALUES ('scarce', 1, CAST(:rules AS jsonb), true, now())"
            ),
            {"rules": RuleSet.model_validate(RULES).model_dump_json(by_alias=True)},
        )
    for n in range(0, len(received), 200):
        await stockroom.change(f"received:{n}", *received[n : n + 200])


async def let_them_order(
    stockroom: Stockroom, database_url: str, *, orders: int, seed: int
) -> Outcome:
    """Let so many orders of several lines be planned and reserved, sixteen at once."""
    drawn = random.Random(seed)
    await a_scarce_stock(stockroom, orders=orders, drawn=drawn)
    book, names = SqlBook(stockroom.db, POLICY), list(numbers(orders))
    baskets = [
        tuple((sku, drawn.randint(1, 6)) for sku in drawn.sample(SKUS, drawn.randint(1, 4)))
        for _ in range(orders)
    ]

    async def buys(n: int) -> bool:
        await _record(stockroom, names[n], baskets[n], (43 + n % 7, n % 5))
        await book.reserve(names[n], NOW)
        if (await book.read(names[n])).refusal_code is None:
            return True
        there = await _there(stockroom)
        assert any(there[sku] < units for sku, units in baskets[n]), "refused, and could be served"
        return False

    outcomes = await served(orders, buys)

    await _is_true(stockroom, outcomes, orders)
    divided = await _count(
        stockroom,
        "SELECT count(*) FROM (SELECT FROM reservations GROUP BY order_number, line"
        " HAVING count(DISTINCT location) > 1) d",
    )
    assert await violations(stockroom) == []
    assert await deadlocks(stockroom, database_url) == 0
    return Outcome(outcomes[True], outcomes[False], divided)


async def _is_true(stockroom: Stockroom, outcomes: Counter[bool], orders: int) -> None:
    """No unit was sold twice, no wine from dry stores, and each decision was kept."""
    oversold = "SELECT count(*) FROM stock_levels WHERE reserved > on_hand"
    dry = "SELECT count(*) FROM reservations WHERE sku LIKE 'WINE-%' AND location LIKE 'store-%1'"
    kept = "SELECT count(DISTINCT order_number) FROM routing_decisions WHERE rule_set = 'scarce'"
    partly = (
        "SELECT count(*) FROM order_lines l JOIN orders o ON o.number = l.order_number"
        " WHERE o.refusal_code IS NULL AND l.reserved <> l.ordered"
    )
    assert await _count(stockroom, oversold) == 0
    assert await _count(stockroom, dry) == 0
    assert await _count(stockroom, partly) == 0
    assert await _count(stockroom, kept) == orders == sum(outcomes.values())


async def _count(stockroom: Stockroom, question: str) -> int:
    async with stockroom.db.connect() as tx:
        return int(await tx.scalar(text(question)) or 0)


async def _there(stockroom: Stockroom) -> Counter[str]:
    async with stockroom.db.connect() as tx:
        return Counter({row.sku: row.units for row in await tx.execute(_THERE)})


async def _record(
    stockroom: Stockroom, number: str, basket: Wanted, point: tuple[float, float]
) -> None:
    total = sum(units for _, units in basket) * 100
    request = OrderRequest.model_validate(
        {
            "channel": "web",
            "reference": number,
            "currency": "EUR",
            "customer": {"id": "c-1"},
            "lines": [
                {"sku": sku, "quantity": units, "unit_price_minor": 100} for sku, units in basket
            ],
            "delivery": {"method": "home", "address": {"country": "FR"}},
            "tenders": [
                {"kind": "card", "provider": "simulator", "token": "tok_ok", "amount_minor": total}
            ],
        }
    )
    await record(stockroom.db, number, request, point=point)
