"""Waits of days: each ends by itself, or calls a person and says so."""

from oms.numbers import fulfillment_workflow_id
from oms.orders import OrderStatus, PaymentStatus
from tests.time.months import Month

# --- deciding -------------------------------------------------------------------------------


async def test_an_order_may_be_changed_for_the_whole_grace_window_and_is_then_routed(
    month: Month,
) -> None:
    await month.has("lyon", 5)
    number = await month.place()
    await month.until(number, lambda order: order.confirmed_at is not None)

    await month.passes(days=1, hours=23)
    before = await month.book.read(number)
    await month.passes(hours=1, minutes=1)
    id = await month.until_offered(number)

    assert before.fulfillment_orders == ()
    assert month.nodes.offers[id].location == "lyon"
    await month.is_clean()


async def test_a_pending_payment_is_looked_up_ever_more_rarely_until_it_is_decided(
    month: Month,
) -> None:
    await month.has("lyon", 5)
    month.bank.pending = True
    number = await month.place()
    key = await month.until_pending(number)

    await month.passes(minutes=20)
    asked = month.bank.asked[key]
    month.bank.decides()
    await month.passes(minutes=20)
    order = await month.until(number, lambda order: order.confirmed_at is not None)

    assert asked == 4, "after 1, 3, 7 and 15 minutes"
    assert order.payment_status is PaymentStatus.AUTHORIZED
    await month.is_clean()


async def test_stock_held_for_an_unpaid_order_goes_back_and_is_held_again_once_it_is_paid(
    month: Month,
) -> None:
    await month.has("lyon", 5)
    month.bank.pending = True
    number = await month.place(2)
    await month.until_pending(number)

    await month.passes(minutes=31)
    await month.until(number, lambda order: order.lines[0].reserved == 0)
    released = await month.shelf.level("LAMP", "lyon")
    month.bank.decides()
    await month.passes(hours=2)
    order = await month.until(number, lambda order: order.confirmed_at is not None)

    assert released == {"on_hand": 5}
    assert order.lines[0].allocated == 2
    assert await month.shelf.level("LAMP", "lyon") == {"on_hand": 5, "allocated": 2}
    await month.is_clean()


async def test_a_payment_that_comes_after_the_stock_was_sold_is_given_back(month: Month) -> None:
    await month.has("lyon", 1)
    month.bank.pending = True
    late = await month.place()
    await month.until_pending(late)
    await month.passes(minutes=31)
    await month.until(late, lambda order: order.lines[0].reserved == 0)

    month.bank.pending = False
    quick = await month.place()
    await month.until(quick, lambda order: order.confirmed_at is not None)
    month.bank.decides()
    await month.passes(hours=2)
    await month.run_of(late).result()

    order = await month.book.read(late)
    assert order.refusal_code == "insufficient_stock"
    assert order.payment_status is PaymentStatus.VOIDED
    assert month.bank.moved[f"{late}:void:1"] == 1999
    await month.is_clean()


# --- locations that do not answer -----------------------------------------------------------


async def test_units_that_no_location_answers_for_are_cancelled_and_the_money_is_released(
    month: Month,
) -> None:
    await month.has("lyon", 5)
    await month.has("nice", 5)
    number = await month.place(2)
    await month.passes(days=2, minutes=1)

    for seq in (1, 2):
        await month.until_offered(number, seq)
        await month.passes(hours=4, minutes=1)
    await month.all_runs_end(number)

    order = await month.book.read(number)
    assert order.status is OrderStatus.CANCELLED
    assert [(f.location, f.request) for f in order.fulfillment_orders] == [
        ("lyon", "expired"),
        ("nice", "expired"),
    ]
    assert month.nodes.told_to_stop == [f.id for f in order.fulfillment_orders]
    assert order.payment_status is PaymentStatus.VOIDED
    await month.is_clean()


async def test_units_that_no_location_answers_for_are_backordered_where_the_order_allows_it(
    month: Month,
) -> None:
    await month.has("lyon", 5)
    number = await month.place(2, allow_backorder=True)
    await month.passes(days=2, minutes=1)
    await month.until_offered(number)

    await month.passes(hours=4, minutes=1)
    waiting = await month.until(number, lambda order: order.lines[0].backordered == 2)
    await month.passes(days=20)
    await month.has("nice", 5)
    await month.run_of(number).execute_update("reroute", {"actor": "ada"})
    id = await month.until_offered(number, 2)

    assert waiting.status is OrderStatus.OPEN
    assert month.nodes.offers[id].location == "nice"
    await month.is_clean()


async def test_accepted_work_that_is_not_done_in_time_calls_a_person_who_may_give_it_to_another(
    month: Month,
) -> None:
    await month.has("lyon", 5)
    await month.has("nice", 5)
    number = await month.place()
    await month.passes(days=2, minutes=1)
    first = await month.until_offered(number)
    await month.accepts(first)

    await month.passes(days=1, minutes=1)
    await month.until_parked(number, "pick:F1")
    await month.decides(fulfillment_workflow_id(first), "pick:F1", "fail")
    second = await month.until_offered(number, 2)

    assert month.nodes.offers[second].location == "nice"
    assert first in month.nodes.told_to_stop
    await month.is_clean()


async def test_a_location_that_does_not_say_whether_it_stopped_calls_a_person(month: Month) -> None:
    await month.has("lyon", 5)
    number = await month.place()
    await month.passes(days=2, minutes=1)
    id = await month.until_offered(number)
    await month.accepts(id)
    await month.run_of(number).execute_update("cancel", {"reason": "changed my mind"})
    await month.until(number, lambda order: bool(order.fulfillment_orders[0].cancellation_asked))

    await month.passes(hours=4, minutes=1)
    await month.until_parked(number, "cancel:F1")
    await month.decides(fulfillment_workflow_id(id), "cancel:F1", "done_manually")
    await month.all_runs_end(number)

    order = await month.book.read(number)
    assert order.status is OrderStatus.CANCELLED
    assert await month.shelf.level("LAMP", "lyon") == {"on_hand": 5}
    await month.is_clean()


# --- goods that nobody collects -------------------------------------------------------------


async def _ready_for_pickup(month: Month) -> tuple[str, str]:
    await month.has("lyon", 5)
    number = await month.place(delivery={"method": "store_pickup", "location": "lyon"})
    await month.passes(days=2, minutes=1)
    id = await month.until_offered(number)
    await month.accepts(id)
    await month.picks(id)
    await month.is_ready(id)
    await month.passes(days=7, minutes=1)
    await month.until_parked(number, "pickup:F1")
    return number, id


async def test_goods_not_collected_in_a_week_call_a_person_who_gives_a_week_more_or_puts_them_back(
    month: Month,
) -> None:
    number, id = await _ready_for_pickup(month)

    await month.decides(fulfillment_workflow_id(id), "pickup:F1", "retry")
    await month.until(number, lambda order: not order.parked)
    await month.passes(days=6)
    patient = await month.book.read(number)
    await month.passes(days=1, minutes=1)
    await month.until_parked(number, "pickup:F1")
    await month.decides(fulfillment_workflow_id(id), "pickup:F1", "fail")
    await month.all_runs_end(number)

    order = await month.book.read(number)
    assert patient.parked == ()
    assert order.status is OrderStatus.CANCELLED
    assert order.payment_status is PaymentStatus.VOIDED
    assert await month.shelf.level("LAMP", "lyon") == {"on_hand": 5}
    await month.is_clean()


async def test_a_customer_who_comes_late_gets_the_goods_and_nobody_is_called_any_more(
    month: Month,
) -> None:
    number, id = await _ready_for_pickup(month)
    code = (await month.book.read(number)).fulfillment_order(id).pickup_code

    await month.hands_over(id, code)
    await month.all_runs_end(number)

    order = await month.book.read(number)
    assert order.status is OrderStatus.COMPLETED
    assert month.bank.moved[f"{number}:capture:1"] == 1999
    await month.is_clean()


# --- parcels that say nothing ---------------------------------------------------------------


async def test_a_silent_parcel_is_asked_after_daily_and_goes_to_a_person_after_a_fortnight(
    month: Month,
) -> None:
    await month.has("lyon", 5)
    number = await month.place()
    await month.ships(number)

    await month.passes(days=13, hours=12)
    asked = month.post.asked
    calm = await month.book.read(number)
    await month.passes(hours=13)
    parked = await month.until_parked(number, "parcel:S1")
    await month.passes(days=7)

    assert asked == 13
    assert calm.parked == ()
    assert parked.parked[0].last_error == "the carrier has said nothing for too long"
    assert month.post.asked <= 14, "nobody asks on while a person looks"


async def test_a_scan_after_a_long_silence_calls_the_person_off(month: Month) -> None:
    await month.has("lyon", 5)
    number = await month.place()
    await month.ships(number)
    await month.passes(days=15)
    await month.until_parked(number, "parcel:S1")

    await month.scans(number, "in_transit")
    await month.until(number, lambda order: not order.parked)
    await month.scans(number, "delivered")
    await month.all_runs_end(number)

    assert (await month.book.read(number)).status is OrderStatus.COMPLETED
    await month.is_clean()


async def test_a_carrier_that_is_down_for_days_makes_no_run_spin(month: Month) -> None:
    await month.has("lyon", 5)
    number = await month.place()
    id = await month.ships(number)
    month.post.down = True
    before = await month.events_of(fulfillment_workflow_id(id))

    await month.passes(days=2)
    await month.until_parked(number, "poll:S1")
    month.post.down = False
    await month.passes(hours=2)
    await month.until(number, lambda order: not order.parked)

    assert month.post.asked == 1
    assert await month.events_of(fulfillment_workflow_id(id)) - before < 1000
    await month.is_clean()


# --- outages --------------------------------------------------------------------------------


async def test_a_step_parked_by_a_week_of_outage_heals_by_itself_waiting_longer_each_time(
    month: Month,
) -> None:
    await month.has("lyon", 5)
    number = await month.place()
    await month.until(number, lambda order: order.confirmed_at is not None)
    month.nodes.down = True

    await month.passes(days=2, minutes=1)
    parked = await month.until_parked(number, "offer:F1")
    await month.passes(days=7)
    events = await month.events_of(fulfillment_workflow_id(f"{number}-F1"))
    month.nodes.down = False
    await month.passes(hours=1, minutes=1)
    order = await month.until(number, lambda order: not order.parked)

    assert parked.parked[0].heals_at is not None
    assert order.fulfillment_orders[0].offered_at is not None
    assert events < 180 * 20, "hourly at last, at 20 events each"
    await month.is_clean()


async def test_a_step_that_is_parked_for_what_was_cancelled_meanwhile_waits_no_longer(
    month: Month,
) -> None:
    await month.has("lyon", 5)
    number = await month.place()
    await month.until(number, lambda order: order.confirmed_at is not None)
    month.nodes.down = True
    await month.passes(days=2, minutes=1)
    await month.until_parked(number, "offer:F1")

    await month.run_of(number).execute_update("cancel", {"reason": "took too long"})
    await month.until(number, lambda order: order.closed_at is not None)
    await month.pass_on()
    await month.all_runs_end(number)

    assert (await month.book.read(number)).status is OrderStatus.CANCELLED
    assert month.nodes.offers == {}
    await month.is_clean()
