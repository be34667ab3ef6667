"""The contract of a carrier, kept against the simulator under every fault."""

import pytest

from adapters.carriers.simulator import SimulatedCarrier
from adapters.http import Http
from oms.errors import BadRequest, OutcomeUnknown, Unreachable
from oms.ports import LabelRequest, Place
from tests.outside import PATIENT, Outside, patience_for

PARCEL = LabelRequest(
    key="A-1-S1:label:1",
    reference="A-1",
    shipment="A-1-S1",
    fulfillment_order="A-1-F1",
    location="wh-paris",
    sender=Place(name="Warehouse", country="FR", postal_code="75001"),
    recipient=Place(name="Ada Martin", line1="5 quai Tilsitt", country="FR", postal_code="69002"),
    weight_g=1500,
)


async def test_one_parcel_has_one_tracking_number_however_often_it_is_asked_for(
    outside: Outside,
) -> None:
    async with Http(outside.url, timeout=PATIENT) as http:
        carrier = SimulatedCarrier(http)
        bought = await carrier.buy_label(PARCEL)
        again = await carrier.buy_label(PARCEL)
        other = await carrier.buy_label(PARCEL.model_copy(update={"key": "A-1-S1:label:2"}))

    assert again == bought
    assert other.tracking_number != bought.tracking_number
    assert bought.carrier == "simulator"
    assert bought.tracking_url is not None
    assert await outside.books("carriers") == [
        ("label", "A-1-S1:label:1"),
        ("label", "A-1-S1:label:2"),
    ]


@pytest.mark.parametrize("mode", ["timeout_after", "error_after", "drop_connection"])
async def test_a_label_whose_answer_was_lost_is_the_one_we_get_next(
    outside: Outside, mode: str
) -> None:
    await outside.breaks("carriers", "label", mode)
    async with Http(outside.url, timeout=patience_for(mode)) as http:
        with pytest.raises(OutcomeUnknown):
            await SimulatedCarrier(http).buy_label(PARCEL)
        await SimulatedCarrier(http).buy_label(PARCEL)

    assert len(await outside.books("carriers")) == 1


@pytest.mark.parametrize(
    ("mode", "fault"),
    [
        ("timeout_before", OutcomeUnknown),
        ("error_before", OutcomeUnknown),
        ("rate_limit", Unreachable),
        ("decline", BadRequest),
    ],
)
async def test_a_label_that_was_not_sold_is_in_no_book(
    outside: Outside, mode: str, fault: type[Exception]
) -> None:
    await outside.breaks("carriers", "label", mode)
    async with Http(outside.url, timeout=patience_for(mode)) as http:
        with pytest.raises(fault):
            await SimulatedCarrier(http).buy_label(PARCEL)

        assert await outside.books("carriers") == []
        await SimulatedCarrier(http).buy_label(PARCEL)


async def test_a_lookup_tells_every_scan_oldest_first(outside: Outside) -> None:
    async with Http(outside.url, timeout=PATIENT) as http:
        carrier = SimulatedCarrier(http)
        bought = await carrier.buy_label(PARCEL)
        for status in ("in_transit", "delivered"):
            path = f"/carriers/{bought.tracking_number}/events"
            await outside.ask("POST", path, json={"status": status})
        scans = await carrier.lookup(tracking_number=bought.tracking_number)

    assert [scan.status for scan in scans] == ["in_transit", "delivered"]
    assert [scan.event_id for scan in scans] == outside.inbox.told("event_id")
    assert scans[0].at <= scans[1].at


async def test_a_parcel_nobody_sold_is_our_mistake(outside: Outside) -> None:
    async with Http(outside.url, timeout=PATIENT) as http:
        with pytest.raises(BadRequest):
            await SimulatedCarrier(http).lookup(tracking_number="SIM1")


async def test_a_lookup_that_breaks_may_be_repeated(outside: Outside) -> None:
    async with Http(outside.url, timeout=PATIENT) as http:
        carrier = SimulatedCarrier(http)
        bought = await carrier.buy_label(PARCEL)
        await outside.breaks("carriers", "lookup", "error_before")

        with pytest.raises(OutcomeUnknown):
            await carrier.lookup(tracking_number=bought.tracking_number)
        assert await carrier.lookup(tracking_number=bought.tracking_number) == []


async def test_a_parcel_of_a_return_waits_until_somebody_brings_it(outside: Outside) -> None:
    await outside.hurries()
    back = PARCEL.model_copy(
        update={
            "key": "A-1-R1-P1:label:1",
            "shipment": "A-1-R1-P1",
            "fulfillment_order": "A-1-R1",
            "of_return": True,
            "collect": True,
        }
    )
    async with Http(outside.url, timeout=PATIENT) as http:
        carrier = SimulatedCarrier(http)
        number = (await carrier.buy_label(back)).tracking_number
        other = (await carrier.buy_label(PARCEL)).tracking_number
        await outside.inbox.until(
            lambda letters: any(
                (each["tracking_number"], each["status"]) == (other, "delivered")
                for each in letters
            )
        )
        assert await carrier.lookup(tracking_number=number) == []
        await outside.ask("POST", f"/carriers/{number}/events", json={"status": "handed_over"})
        scans = await carrier.lookup(tracking_number=number)

    assert [scan.status for scan in scans] == ["handed_over"]
