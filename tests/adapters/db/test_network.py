"""What routing rests on is kept in the process, and never older than the stock it is read with."""

import json

from sqlalchemy import text

from adapters.db.sourcing import places_for
from tests.adapters.db.crowds import Basket, candidates
from tests.adapters.db.stockroom import Stockroom

LAMP = Basket((("LAMP", 1),))


async def activates(stockroom: Stockroom, document: object, version: int = 1) -> None:
    async with stockroom.db.begin() as tx:
        await tx.execute(text("UPDATE rule_sets SET active = false"))
        await tx.execute(
            text(
                "INSERT INTO rule_sets (id, version, document, active, created_at)"
                " VALUES ('shop', :version, CAST(:document AS jsonb), true, now())"
            ),
            {"version": version, "document": json.dumps(document)},
        )


async def test_a_place_closed_by_others_is_not_used_even_in_a_transaction_that_began_before(
    stockroom: Stockroom,
) -> None:
    for place in ("lyon", "paris"):
        await stockroom.holds("LAMP", place, 3)

    async with stockroom.db.begin() as tx:
        before = await candidates(tx, skus=["LAMP"], channel="web", method="home")
        async with stockroom.db.begin() as other:
            await other.execute(text("UPDATE locations SET active = false WHERE id = 'lyon'"))
        after = await candidates(tx, skus=["LAMP"], channel="web", method="home")

    assert [each.location for each in before] == ["lyon", "paris"]
    assert [each.location for each in after] == ["paris"]


async def test_a_closing_that_is_not_committed_counts_for_nobody_else(
    stockroom: Stockroom,
) -> None:
    await stockroom.holds("LAMP", "lyon", 3)

    async with stockroom.db.begin() as closing, stockroom.db.begin() as tx:
        await closing.execute(text("UPDATE locations SET active = false WHERE id = 'lyon'"))
        inside = await candidates(closing, skus=["LAMP"], channel="web", method="home")
        outside = await candidates(tx, skus=["LAMP"], channel="web", method="home")
        await closing.rollback()

    assert inside == []
    assert [each.location for each in outside] == ["lyon"]


async def test_rules_count_from_the_moment_they_are_activated(stockroom: Stockroom) -> None:
    names = []
    for version, name in enumerate(("One", "Two"), start=1):
        document = {"name": name, "currency": "EUR", "rules": [{"name": "Any"}]}
        await activates(stockroom, document, version)
        async with stockroom.db.begin() as tx:
            names.append((await places_for(tx, LAMP, ["LAMP"])).network.router.rules.name)

    assert names == ["One", "Two"]


async def test_an_active_document_that_is_no_rule_set_stops_no_order(stockroom: Stockroom) -> None:
    await activates(stockroom, {"written": "before rule sets were checked"})

    async with stockroom.db.begin() as tx:
        router = (await places_for(tx, LAMP, ["LAMP"])).network.router

    assert (router.id, router.rules.name) == (None, "Fewest parcels, then nearest")
