import asyncio
import time

from sqlalchemy import text

from adapters.db.adjustments import Adjusted, Adjustment, Refusal, Refused, adjust
from tests.adapters.db.stockroom import NOW, Stockroom


async def report(
    stockroom: Stockroom, *adjustments: Adjustment, key: str = "a1"
) -> Adjusted | Refused:
    async with stockroom.db.begin() as tx:
        return await adjust(tx, adjustments, key=key, at=NOW)


def count(sku: str, location: str, units: int, *, expected: int | None = None) -> Adjustment:
    return Adjustment(
        sku=sku, location=location, set_to=units, reason="count", expected_on_hand=expected
    )


def move(sku: str, location: str, delta: int, *, reason: str = "found") -> Adjustment:
    return Adjustment(sku=sku, location=location, delta=delta, reason=reason)


def deltas(made: Adjusted | Refused) -> list[tuple[str, int]]:
    assert isinstance(made, Adjusted)
    return [(movement.bucket, movement.delta) for movement in made.movements]


async def test_a_count_and_a_correction_each_give_a_movement(stockroom: Stockroom) -> None:
    await stockroom.holds("MUG", "lyon", 40)

    made = await report(stockroom, count("LAMP", "lyon", 12), move("MUG", "lyon", -2))

    assert deltas(made) == [("on_hand", 12), ("on_hand", -2)]
    assert await stockroom.level("LAMP", "lyon") == {"on_hand": 12}
    assert await stockroom.level("MUG", "lyon") == {"on_hand": 38}
    assert await stockroom.adds_up()


async def test_what_is_damaged_is_kept_beside_the_stock(stockroom: Stockroom) -> None:
    await stockroom.holds("LAMP", "lyon", 5)

    made = await report(stockroom, move("LAMP", "lyon", -2, reason="damaged"))

    assert deltas(made) == [("on_hand", -2), ("damaged", 2)]
    assert await stockroom.level("LAMP", "lyon") == {"on_hand": 3, "damaged": 2}
    assert await stockroom.adds_up()


async def test_a_count_that_finds_what_was_known_is_answered_and_moves_nothing(
    stockroom: Stockroom,
) -> None:
    await stockroom.holds("LAMP", "lyon", 5)

    assert deltas(await report(stockroom, count("LAMP", "lyon", 5))) == [("on_hand", 0)]
    assert await stockroom.adds_up()


async def test_each_adjustment_of_a_place_sees_what_the_one_before_left(
    stockroom: Stockroom,
) -> None:
    made = await report(
        stockroom,
        count("LAMP", "lyon", 3),
        move("LAMP", "lyon", 4),
        count("LAMP", "lyon", 5, expected=7),
    )

    assert deltas(made) == [("on_hand", 3), ("on_hand", 4), ("on_hand", -2)]
    assert await stockroom.level("LAMP", "lyon") == {"on_hand": 5}
    assert await stockroom.adds_up()


async def test_one_refusal_stops_all_and_leaves_no_trace(stockroom: Stockroom) -> None:
    await stockroom.holds("LAMP", "lyon", 1)

    made = await report(
        stockroom,
        move("LAMP", "lyon", 1),
        move("LAMP", "lyon", -3),
        count("MUG", "nice", 1, expected=2),
    )

    assert made == Refused(
        (
            Refusal(1, "stock_negative", "2 on hand, -1 after this"),
            Refusal(2, "stock_changed", "expected 2 on hand, found 0"),
        )
    )
    assert await stockroom.level("LAMP", "lyon") == {"on_hand": 1}
    async with stockroom.db.begin() as tx:
        rows = await tx.scalar(text("SELECT count(*) FROM stock_levels WHERE sku = 'MUG'"))
    assert rows == 0


async def test_unknown_articles_and_places_are_named(stockroom: Stockroom) -> None:
    made = await report(
        stockroom, move("LAMP", "lyon", 1), move("LAPM", "lyon", 1), move("LAMP", "mars", 1)
    )

    assert isinstance(made, Refused)
    assert [(e.index, e.code) for e in made.errors] == [
        (1, "sku_unknown"),
        (2, "location_unknown"),
    ]
    assert await stockroom.level("LAMP", "lyon") == {}


async def test_the_same_report_again_changes_nothing_and_answers_the_same(
    stockroom: Stockroom,
) -> None:
    lines = [count("LAMP", "lyon", 3), move("LAMP", "lyon", 4), count("MUG", "nice", 0)]
    first = await report(stockroom, *lines)

    again = await asyncio.gather(*(report(stockroom, *lines) for _ in range(10)))

    assert again == [first] * 10
    assert await stockroom.level("LAMP", "lyon") == {"on_hand": 7}


async def test_of_two_counters_who_saw_the_same_only_one_is_believed(
    stockroom: Stockroom,
) -> None:
    made = await asyncio.gather(
        *(
            report(stockroom, count("LAMP", "lyon", 9, expected=0), key=f"count {n}")
            for n in range(8)
        )
    )

    assert sum(isinstance(each, Adjusted) for each in made) == 1
    assert await stockroom.level("LAMP", "lyon") == {"on_hand": 9}
    assert await stockroom.adds_up()


async def test_a_stock_take_of_two_thousand_rows_is_a_matter_of_a_second(
    stockroom: Stockroom,
) -> None:
    skus = [f"SKU-{n}" for n in range(700)]
    await stockroom.sells(*skus)
    lines = [count(sku, place, 5) for sku in skus for place in ("lyon", "nice", "paris")]

    begun = time.perf_counter()
    made = await report(stockroom, *lines)

    assert time.perf_counter() - begun < 5, "a few statements, not one a row"
    assert isinstance(made, Adjusted)
    assert len(made.movements) == 2100
    assert await stockroom.adds_up()
