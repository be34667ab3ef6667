"""An order leaves a place that was closed, or an article that was recalled, and nothing is lost."""

import pytest

from adapters.db.recalls import end_recall
from oms.agenda import IN_DOUBT, fulfillment_agenda
from oms.book import CancelUnits, DecideFulfillment, PlaceHold, ReleaseHold
from oms.decisions import Decision
from tests.adapters.db.leaving import LATER, POLICY, Shop
from tests.adapters.db.stockroom import NOW, Stockroom


@pytest.fixture
async def shop(stockroom: Stockroom) -> Shop:
    shop = Shop(stockroom)
    await shop.opens_its_doors()
    return shop


# --- a place closes -------------------------------------------------------------------------


async def test_an_order_that_is_not_confirmed_is_held_elsewhere(shop: Shop) -> None:
    number = await shop.reserved()
    await shop.closes()

    assert await shop.leaves(number) == ("moved", "2 units are served from elsewhere")

    order = await shop.order(number)
    assert {(r.location, r.quantity) for r in order.reservations} == {("nice", 2)}
    assert await shop.stockroom.level("LAMP", "lyon") == {"on_hand": 20}
    assert await shop.is_sound()


async def test_an_order_that_is_not_confirmed_and_nobody_else_can_serve_is_refused(
    shop: Shop,
) -> None:
    await shop.stockroom.sells("VASE")
    await shop.stockroom.holds("VASE", "lyon", 3)
    number = await shop.reserved({"VASE": 2})
    await shop.closes()

    assert (await shop.leaves(number))[0] == "cancelled"

    assert (await shop.order(number)).refusal_code == "insufficient_stock"
    assert await shop.stockroom.level("VASE", "lyon") == {"on_hand": 3}
    assert await shop.is_sound()


async def test_an_order_in_its_grace_moves_at_once_and_is_offered_when_it_ends(
    shop: Shop,
) -> None:
    number = await shop.in_grace()
    await shop.closes()

    assert (await shop.leaves(number))[0] == "moved"

    assert await shop.held(number) == {"nice": 2}
    assert await shop.parts(number) == []
    await shop.routed(number)
    assert await shop.parts(number) == [("nice", "open")]
    assert await shop.is_sound()


async def test_work_that_was_offered_is_withdrawn_and_its_place_told(shop: Shop) -> None:
    number = await shop.offered()
    await shop.closes()

    assert (await shop.leaves(number))[0] == "moved"

    assert await shop.parts(number) == [("lyon", "cancelled")]
    work = await shop.book.work_to_cancel(f"{number}-F1")
    assert work is not None
    assert work.lines is None
    await shop.routed(number)
    assert await shop.parts(number) == [("lyon", "cancelled"), ("nice", "open")]
    assert await shop.is_sound()


async def test_work_that_was_accepted_stays_allocated_until_the_place_has_stopped(
    shop: Shop,
) -> None:
    number = await shop.accepted()
    await shop.closes()

    assert (await shop.leaves(number))[0] == "asked"

    assert await shop.held(number) == {"lyon": 2}
    assert await shop.allocated("nice") == 0
    work = await shop.book.work_to_cancel(f"{number}-F1")
    assert work is not None
    assert [(line.line, line.quantity) for line in work.lines or ()] == [(1, 2)]

    await shop.stops(number, accepted=True)
    assert (await shop.parts(number), await shop.held(number)) == (
        [("lyon", "cancelled")],
        {"lyon": 2},
    )
    await shop.routed(number)
    assert await shop.held(number) == {"nice": 2}
    assert await shop.parts(number) == [("lyon", "cancelled"), ("nice", "open")]
    assert (await shop.order(number)).lines[0].cancelled == 0
    assert await shop.is_sound()


async def test_a_place_that_cannot_stop_goes_on(shop: Shop) -> None:
    number = await shop.accepted()
    await shop.closes()
    await shop.leaves(number)

    await shop.stops(number, accepted=False)
    await shop.routed(number)

    assert await shop.parts(number) == [("lyon", "in_progress")]
    await shop.picks(number, line1=2)
    assert (await shop.order(number)).lines[0].picked == 2
    assert await shop.is_sound()


async def test_a_place_that_does_not_say_whether_it_stopped_is_a_persons_to_ask(
    shop: Shop,
) -> None:
    number = await shop.accepted()
    await shop.closes()
    await shop.leaves(number)
    await shop.book.asked_to_stop(f"{number}-F1", f"{number}-F1:cancel:1", LATER)

    much_later = LATER + POLICY.node_answer
    order = await shop.order(number)
    due = fulfillment_agenda(order, f"{number}-F1", much_later, silent=POLICY.silent).due

    assert [each.step for each in due] == ["cancel:F1"]
    stopped = Decision(step="cancel:F1", action="done_manually", actor="ines", reason="rang")
    await shop.command(
        number, DecideFulfillment(fulfillment_order=f"{number}-F1", decision=stopped)
    )
    await shop.routed(number)
    assert await shop.held(number) == {"nice": 2}


async def test_what_the_customer_cancels_is_cancelled_though_it_was_to_move(shop: Shop) -> None:
    number = await shop.accepted(3)
    await shop.closes()
    await shop.leaves(number)

    await shop.command(number, CancelUnits(reason="changed my mind", lines={1: 2}))
    work = await shop.book.work_to_cancel(f"{number}-F1")
    assert work is not None
    assert [line.quantity for line in work.lines or ()] == [3]
    await shop.stops(number, accepted=True)
    await shop.routed(number)

    assert (await shop.order(number)).lines[0].cancelled == 2
    assert await shop.held(number) == {"nice": 1}
    assert await shop.is_sound()


async def test_what_is_picked_stays_and_calls_a_person(shop: Shop) -> None:
    number = await shop.accepted()
    await shop.picks(number, line1=2)
    await shop.closes()

    assert (await shop.leaves(number))[0] == "kept"

    order = await shop.order(number)
    assert await shop.parts(number) == [("lyon", "in_progress")]
    due = fulfillment_agenda(order, f"{number}-F1", LATER, silent=POLICY.silent).due
    assert [(each.step, each.actions) for each in due] == [
        ("stranded:F1", ("done_manually", "fail"))
    ]
    assert await shop.is_sound()


@pytest.mark.parametrize(
    ("action", "parts", "held"),
    [
        ("done_manually", [("lyon", "in_progress")], {"lyon": 2}),
        ("fail", [("lyon", "cancelled"), ("nice", "open")], {"nice": 2}),
    ],
)
async def test_a_person_lets_picked_goods_go_from_there_or_takes_them_away(
    shop: Shop, action: str, parts: list[tuple[str, str]], held: dict[str, int]
) -> None:
    number = await shop.accepted()
    await shop.picks(number, line1=2)
    await shop.closes()
    await shop.leaves(number)

    decision = Decision.model_validate(
        {"step": "stranded:F1", "action": action, "actor": "ines", "reason": "rang"}
    )
    await shop.command(
        number, DecideFulfillment(fulfillment_order=f"{number}-F1", decision=decision)
    )
    await shop.routed(number)

    assert await shop.parts(number) == parts
    assert await shop.held(number) == held
    assert await shop.is_sound()


async def test_what_nobody_else_has_is_cancelled_or_waits_as_the_order_allows(
    shop: Shop,
) -> None:
    await shop.stockroom.sells("VASE")
    await shop.stockroom.holds("VASE", "lyon", 9)
    await shop.stockroom.holds("VASE", "nice", 1)
    strict = await shop.offered({"VASE": 3})
    patient = await shop.offered({"VASE": 3}, allow_backorder=True)
    await shop.closes()

    assert await shop.leaves(strict) == (
        "cancelled",
        "2 units are cancelled: nothing else can serve them; 1 unit is served from elsewhere",
    )
    assert await shop.leaves(patient) == ("backordered", "3 units are waiting in the queue")

    assert (await shop.order(strict)).lines[0].cancelled == 2
    assert (await shop.order(patient)).lines[0].backordered == 3
    assert await shop.is_sound()


async def test_an_order_that_must_not_be_split_moves_as_a_whole(shop: Shop) -> None:
    await shop.stockroom.counts("few", "MUG", "nice", off_by=-20)
    number = await shop.offered({"LAMP": 2, "MUG": 1}, allow_split=False)
    await shop.closes()

    assert (await shop.leaves(number))[0] == "moved"

    assert await shop.held(number) == {"paris": 3}
    assert await shop.is_sound()


async def test_a_held_order_leaves_when_its_hold_is_lifted(shop: Shop) -> None:
    number = await shop.offered()
    await shop.command(number, PlaceHold(reason="fraud"))
    await shop.closes()

    assert (await shop.leaves(number))[0] == "held"

    assert await shop.parts(number) == [("lyon", "cancelled")]
    assert await shop.held(number) == {"lyon": 2}
    await shop.command(number, ReleaseHold(hold=f"{number}-H1"))
    await shop.routed(number)
    assert await shop.held(number) == {"nice": 2}
    assert await shop.is_sound()


async def test_an_order_in_doubt_is_not_touched(shop: Shop) -> None:
    number = await shop.offered()
    await shop.command(number, PlaceHold(reason=IN_DOUBT))
    await shop.closes()
    before = (await shop.order(number)).version

    assert (await shop.leaves(number))[0] == "held"

    assert (await shop.order(number)).version == before


async def test_a_customer_who_was_to_collect_there_is_a_persons_to_ask(shop: Shop) -> None:
    pickup = {"method": "store_pickup", "location": "lyon"}
    offered = await shop.offered(delivery=pickup)
    working = await shop.accepted(delivery=pickup)
    await shop.closes()

    for number in (offered, working):
        assert (await shop.leaves(number))[0] == "kept"

    order = await shop.order(offered)
    assert [hold.reason for hold in order.open_holds] == ["inventory"]
    assert await shop.parts(offered) == [("lyon", "on_hold")]
    assert (await shop.order(working)).fulfillment_orders[0].stranded_at is not None
    assert await shop.held(offered) == {"lyon": 2}
    await shop.command(offered, ReleaseHold(hold=f"{offered}-H1"))
    await shop.routed(offered)
    assert await shop.parts(offered) == [("lyon", "open")], "a person let it go on there"
    assert await shop.is_sound()


async def test_a_place_that_closes_and_ends_what_it_has_keeps_its_orders(shop: Shop) -> None:
    number = await shop.in_grace()
    await shop.closes(clear=False)

    assert (await shop.leaves(number))[0] == "nothing"

    await shop.routed(number)
    assert await shop.parts(number) == [("lyon", "open")]


async def test_units_that_come_to_a_closed_place_afterwards_are_not_offered_to_it(
    shop: Shop,
) -> None:
    late = await shop.reserved()
    await shop.closes()
    await shop.book.confirm(late, NOW)  # its plan is from before

    await shop.routed(late)

    assert await shop.parts(late) == [("nice", "open")]
    assert await shop.is_sound()


async def test_a_place_that_opens_again_may_serve_the_order_again(shop: Shop) -> None:
    await shop.stockroom.sells("VASE")
    await shop.stockroom.holds("VASE", "lyon", 9)
    number = await shop.offered({"VASE": 3}, allow_backorder=True)
    await shop.closes()
    await shop.leaves(number)

    await shop.opens()
    await shop.book.release_backorders(LATER, most=10)

    assert await shop.held(number) == {"lyon": 3}
    assert await shop.is_sound()


# --- an article is recalled -----------------------------------------------------------------


async def test_only_the_article_leaves_and_the_rest_is_offered_anew(shop: Shop) -> None:
    number = await shop.offered({"LAMP": 2, "MUG": 1})
    await shop.recalls("LAMP", "lyon")

    assert (await shop.leaves(number))[0] == "moved"

    assert await shop.held(number) == {"nice": 2, "lyon": 1}
    await shop.routed(number)
    assert await shop.parts(number) == [("lyon", "cancelled"), ("lyon", "open"), ("nice", "open")]
    assert await shop.is_sound()


async def test_an_order_that_must_not_be_split_takes_the_rest_along(shop: Shop) -> None:
    number = await shop.offered({"LAMP": 2, "MUG": 1}, allow_split=False)
    await shop.recalls("LAMP", "lyon")

    assert (await shop.leaves(number))[0] == "moved"

    assert await shop.held(number) == {"nice": 3}
    await shop.routed(number)
    assert await shop.parts(number) == [("lyon", "cancelled"), ("nice", "open")]
    assert await shop.is_sound()


async def test_the_other_parts_of_a_kit_leave_with_the_one_that_is_recalled(shop: Shop) -> None:
    part = {"quantity": 2, "unit_price_minor": 0, "kit": "desk"}
    lines = [part | {"sku": "LAMP"}, part | {"sku": "MUG"}]
    served = await shop.offered(lines=lines)
    await shop.recalls("LAMP", "lyon")

    assert (await shop.leaves(served))[0] == "moved"
    assert await shop.held(served) == {"nice": 4}

    await shop.recalls("LAMP")
    assert (await shop.leaves(served, "RR-2"))[0] == "cancelled"
    assert [line.cancelled for line in (await shop.order(served)).lines] == [2, 2]
    assert await shop.is_sound()


async def test_a_place_that_works_is_asked_to_stop_only_the_article(shop: Shop) -> None:
    number = await shop.accepted({"LAMP": 2, "MUG": 1})
    await shop.recalls("LAMP", "lyon")

    assert (await shop.leaves(number))[0] == "asked"
    await shop.stops(number, accepted=True)
    await shop.routed(number)

    assert await shop.parts(number) == [("lyon", "in_progress"), ("nice", "open")]
    assert await shop.held(number) == {"lyon": 1, "nice": 2}
    await shop.picks(number, line2=1)
    assert await shop.is_sound()


async def test_what_is_recalled_everywhere_waits_or_is_cancelled_and_stays_on_its_shelf(
    shop: Shop,
) -> None:
    strict = await shop.offered()
    patient = await shop.offered(allow_backorder=True)
    await shop.recalls("LAMP")

    assert (await shop.leaves(strict))[0] == "cancelled"
    assert (await shop.leaves(patient))[0] == "backordered"

    assert await shop.stockroom.level("LAMP", "lyon") == {"on_hand": 20, "backordered": 2}
    assert await shop.book.release_backorders(LATER, most=10) == 0
    async with shop.db.begin() as tx:
        await end_recall(tx, "LAMP", None)
    assert await shop.book.release_backorders(LATER, most=10) == 1
    assert await shop.held(patient) == {"lyon": 2}
    assert await shop.is_sound()


async def test_a_short_pick_answers_for_what_was_asked(shop: Shop) -> None:
    number = await shop.accepted(3)
    await shop.closes()
    await shop.leaves(number)

    await shop.picks(number, line1=0)
    await shop.routed(number)

    assert await shop.parts(number) == [("lyon", "cancelled"), ("nice", "open")]
    assert (await shop.order(number)).fulfillment_orders[0].cancellation == "accepted"
    assert await shop.is_sound()


async def test_units_found_of_those_to_be_cancelled_are_still_to_be_stopped(shop: Shop) -> None:
    number = await shop.accepted(4)
    await shop.command(number, CancelUnits(reason="changed my mind", lines={1: 4}))

    await shop.picks(number, line1=1)
    assert [line.cancel_asked for line in (await shop.order(number)).fulfillment_orders[0].lines]
    await shop.stops(number, accepted=True)

    assert (await shop.order(number)).lines[0].cancelled == 4
    assert await shop.is_sound()
