"""A return waits for weeks: for the customer, for the parcel, for somebody to look inside."""

from datetime import timedelta

from adapters.db.return_inspections import Inspected, inspect_goods
from adapters.db.return_parcels import record_return_scans
from adapters.db.return_receipts import Arrived, receive_goods
from adapters.db.returns import Announced, NewReturn, change_return, request_return
from adapters.db.unit import OrderUnit
from oms.numbers import order_of, return_workflow_id
from oms.ports import Scan
from oms.returns import Return, ReturnStatus, Terms
from tests.time.months import Month


async def delivered(month: Month) -> str:
    """An order of one lamp at its customer's door, closed."""
    await month.has("lyon", 5)
    number = await month.place()
    await month.ships(number)
    await month.scans(number, "delivered")
    await month.all_runs_end(number)
    return number


async def is_asked_for(month: Month, number: str) -> str:
    """The customer wants to send the lamp back; its process has bought the label."""
    new = NewReturn(
        lines=(Announced(1, 1, "too_small"),),
        terms=Terms(),
        refund_minor=1999,
        location="lyon",
        parcels=1,
        days=(14, 28),
    )
    id = await month.book.change(number, await month.now(), lambda unit: request_return(unit, new))
    assert await month.relay.start_returns() == 1
    await month.until(number, lambda order: _labelled(order.return_(id)))
    return id


def _labelled(back: Return) -> bool:
    return all(parcel.tracking_number for parcel in back.parcels)


async def back(month: Month, id: str) -> Return:
    return (await month.book.read(order_of(id))).return_(id)


async def changes(month: Month, id: str, effect: object) -> None:
    """A fact is reported now."""

    async def fact(unit: OrderUnit) -> None:
        await change_return(unit, id, effect, cause="fact", nudge=True)  # type: ignore[arg-type]

    await month.book.change(order_of(id), await month.now(), fact, actor="node:lyon")
    await month.pass_on()


async def is_scanned(month: Month, id: str) -> None:
    parcel = (await back(month, id)).parcels[0]
    assert parcel.tracking_number is not None
    scan = Scan(event_id="e-back", status="in_transit", at=await month.now())
    month.post.scans[parcel.tracking_number] = [scan]
    await changes(month, id, lambda unit, now: record_return_scans(unit, now, parcel.id, [scan]))


async def test_what_is_never_sent_is_reminded_of_after_a_fortnight_and_expires_after_four_weeks(
    month: Month,
) -> None:
    number = await delivered(month)
    id = await is_asked_for(month, number)

    await month.passes(days=13, hours=23)
    early = await back(month, id)
    await month.passes(hours=2)
    reminded = await month.until(number, lambda order: bool(order.return_(id).reminded_at))
    await month.passes(days=13, hours=20)
    last_day = await back(month, id)
    await month.passes(hours=4)
    await month.client.get_workflow_handle(return_workflow_id(id)).result()

    assert early.reminded_at is None
    assert reminded.return_(id).status is ReturnStatus.APPROVED
    assert last_day.status is ReturnStatus.APPROVED
    gone = await back(month, id)
    assert (gone.status, gone.expired_at is not None) == (ReturnStatus.EXPIRED, True)
    assert await month.shelf.level("LAMP", "lyon") == {"on_hand": 4}
    await month.is_clean()


async def test_a_parcel_that_was_scanned_and_never_arrives_calls_a_person_after_three_weeks(
    month: Month,
) -> None:
    number = await delivered(month)
    id = await is_asked_for(month, number)
    await is_scanned(month, id)

    await month.passes(days=20)
    calm = await month.book.read(number)
    await month.passes(days=1, hours=1)
    await month.until_parked(number, "overdue:R1")

    assert calm.parked == ()
    assert (await back(month, id)).status is ReturnStatus.IN_TRANSIT


async def test_goods_that_nobody_inspects_call_a_person_after_two_days_and_are_paid_once_seen(
    month: Month,
) -> None:
    number = await delivered(month)
    id = await is_asked_for(month, number)
    await is_scanned(month, id)
    here = [Arrived(1, 1, "as_new")]
    await changes(month, id, lambda unit, now: receive_goods(unit, now, "lyon", here, key="scan-1"))

    await month.passes(days=1, hours=23)
    calm = await month.book.read(number)
    await month.passes(hours=2)
    parked = await month.until_parked(number, "inspect:R1")
    accepted = [Inspected(1, 1, True)]
    await changes(month, id, lambda unit, now: inspect_goods(unit, now, accepted))
    await month.until(number, lambda order: order.return_(id).closed_at is not None)
    await month.client.get_workflow_handle(return_workflow_id(id)).result()

    assert calm.parked == ()
    waited = parked.parked[0].since - (await back(month, id)).lots[0].at
    assert timedelta(hours=47) < waited < timedelta(hours=49)
    assert month.bank.moved[f"{number}:refund:1"] == 1999
    assert await month.shelf.level("LAMP", "lyon") == {"on_hand": 5}
    await month.is_clean()
