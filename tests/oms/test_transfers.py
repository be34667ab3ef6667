from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oms.transfers import (
    OPEN,
    Arrival,
    Refused,
    Transfer,
    TransferLine,
    TransferStatus,
    cancel,
    close,
    holds,
    moved,
    receive,
    ship,
    unexpected,
)

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
SKUS = ("LAMP", "MUG")
Step = tuple[str | int, ...]

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ship"), st.sampled_from(SKUS), st.integers(1, 6)),
        st.tuples(st.just("receive"), st.sampled_from((*SKUS, "VASE")), st.integers(1, 6)),
        st.tuples(st.just("cancel")),
        st.tuples(st.just("close")),
    ),
    max_size=10,
)


def a_transfer(lamps: int = 5, mugs: int = 3, **more: object) -> Transfer:
    asked = {"LAMP": lamps, "MUG": mugs}
    lines = [
        TransferLine(line=i, sku=sku, quantity=units)
        for i, (sku, units) in enumerate(asked.items(), start=1)
    ]
    known = {"id": "T-1", "origin": "paris", "destination": "oslo", "created_at": NOW}
    return Transfer.model_validate(known | {"lines": tuple(lines)} | more)


def taken(transfer: Transfer, step: Step) -> Transfer:
    """The transfer after a step, or as it was where the step does not fit."""
    match step:
        case ("ship", str() as sku, int() as units):
            after: Transfer | Refused = ship(transfer, [(sku, units)])
        case ("receive", str() as sku, int() as units):
            after = receive(transfer, [Arrival(sku, units, damaged=units // 3)])
        case ("cancel",):
            after = cancel(transfer)
        case _:
            after = close(transfer, NOW)
    return transfer if isinstance(after, Refused) else after


@given(steps=STEPS)
def test_whatever_happens_nothing_is_held_below_zero_and_the_end_holds_nothing(
    steps: list[Step],
) -> None:
    transfer = a_transfer()

    for step in steps:
        transfer = taken(transfer, step)

        held = holds(transfer)
        open_units = 0
        for (_, place), units in held.items():
            open_units += sum(n for b, n in units.items() if b not in ("on_hand", "damaged"))
            assert all(n >= 0 for b, n in units.items() if (b, place) != ("on_hand", "paris"))
        assert (open_units > 0) == (transfer.status in OPEN)


@given(steps=STEPS)
def test_the_steps_of_a_transfer_move_what_it_holds_in_the_end(steps: list[Step]) -> None:
    transfer = a_transfer()
    sums = moved(a_transfer(0, 0), transfer)

    for step in steps:
        after = taken(transfer, step)
        for place, deltas in moved(transfer, after).items():
            for bucket, units in deltas.items():
                total = sums.setdefault(place, {})
                total[bucket] = total.get(bucket, 0) + units
        transfer = after

    for place, units_held in holds(transfer).items():
        for bucket, units in units_held.items():
            assert sums.get(place, {}).get(bucket, 0) == units


@given(sent=st.integers(1, 5), arrived=st.integers(1, 9))
def test_it_does_not_matter_whether_sending_or_arriving_is_scanned_first(
    sent: int, arrived: int
) -> None:
    scanned = [Arrival("LAMP", arrived)]

    sent_first = ship(a_transfer(), [("LAMP", sent)])
    arrived_first = ship(receive(a_transfer(), scanned), [("LAMP", sent)])

    assert isinstance(sent_first, Transfer)
    assert receive(sent_first, scanned) == arrived_first


def test_shipping_moves_units_from_the_shelf_to_the_road() -> None:
    asked = a_transfer()
    sent = ship(asked, None)

    assert isinstance(sent, Transfer)
    assert moved(asked, sent)["LAMP", "paris"] == {"on_hand": -5, "allocated": -5}
    assert moved(asked, sent)["LAMP", "oslo"] == {"requested": -5, "incoming": 5, "in_transit": 5}


def test_what_was_not_on_the_road_is_told() -> None:
    sent = ship(a_transfer(), [("LAMP", 4)])

    assert isinstance(sent, Transfer)
    scanned = [Arrival("LAMP", 6), Arrival("VASE", 1), Arrival("MUG", 2)]
    assert unexpected(sent, scanned) == {"LAMP": 2, "VASE": 1, "MUG": 2}
    assert unexpected(sent, [Arrival("LAMP", 4)]) == {}


@pytest.mark.parametrize(
    ("steps", "status"),
    [
        ([], TransferStatus.REQUESTED),
        ([("cancel",)], TransferStatus.CANCELLED),
        ([("ship", "LAMP", 5)], TransferStatus.SHIPPED),
        ([("ship", "LAMP", 5), ("receive", "LAMP", 5)], TransferStatus.PARTIALLY_RECEIVED),
        ([("ship", "LAMP", 5), ("receive", "LAMP", 5), ("cancel",)], TransferStatus.RECEIVED),
        ([("ship", "LAMP", 5), ("cancel",), ("close",)], TransferStatus.CLOSED),
        ([("receive", "LAMP", 1)], TransferStatus.PARTIALLY_RECEIVED),
        ([("cancel",), ("receive", "LAMP", 1)], TransferStatus.CANCELLED),
    ],
)
def test_a_transfer_stands_where_its_units_are(steps: list[Step], status: TransferStatus) -> None:
    transfer = a_transfer()

    for step in steps:
        transfer = taken(transfer, step)

    assert transfer.status == status


def test_a_transfer_is_late_while_something_is_still_to_arrive() -> None:
    transfer = a_transfer(expected_at=NOW)
    arrived = receive(transfer, [Arrival("LAMP", 5), Arrival("MUG", 3)])
    whole = ship(arrived, None)

    assert isinstance(whole, Transfer)
    assert transfer.is_overdue(NOW + timedelta(seconds=1))
    assert not transfer.is_overdue(NOW)
    assert not whole.is_overdue(NOW + timedelta(days=1))
