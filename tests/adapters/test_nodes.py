"""The contract of a node, kept against the simulator under every fault."""

import pytest

from adapters.http import Http
from adapters.nodes.simulator import SimulatedNode
from oms.errors import KeyReused, OutcomeUnknown, Unreachable
from oms.ports import CancelWork, Offer, OfferLine
from tests.outside import PATIENT, Outside, patience_for

WORK = Offer(
    fulfillment_order="A-1-F1",
    reference="A-1",
    location="wh.paris_1",
    method="home",
    lines=(OfferLine(line=1, sku="LAMP-01", quantity=2),),
)
STOP = CancelWork(
    key="A-1-F1:cancel:1", fulfillment_order="A-1-F1", reference="A-1", location="wh.paris_1"
)
OPERATIONS = ["offer", "cancel"]


async def asks(node: SimulatedNode, operation: str) -> None:
    if operation == "offer":
        await node.offer(WORK)
    else:
        await node.cancel(STOP)


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_asking_a_node_twice_is_asking_once(outside: Outside, operation: str) -> None:
    async with Http(outside.url, timeout=PATIENT) as http:
        await asks(SimulatedNode(http), operation)
        await asks(SimulatedNode(http), operation)

    assert [kind for kind, _ in await outside.books("nodes")] == [operation]


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("mode", ["timeout_after", "error_after", "drop_connection"])
async def test_a_node_whose_answer_was_lost_was_asked_all_the_same(
    outside: Outside, operation: str, mode: str
) -> None:
    await outside.breaks("nodes", operation, mode)
    async with Http(outside.url, timeout=patience_for(mode)) as http:
        with pytest.raises(OutcomeUnknown):
            await asks(SimulatedNode(http), operation)
        await asks(SimulatedNode(http), operation)

    assert [kind for kind, _ in await outside.books("nodes")] == [operation]


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    ("mode", "fault"),
    [
        ("timeout_before", OutcomeUnknown),
        ("error_before", OutcomeUnknown),
        ("rate_limit", Unreachable),
    ],
)
async def test_a_node_that_was_not_reached_has_nothing_in_its_books(
    outside: Outside, operation: str, mode: str, fault: type[Exception]
) -> None:
    await outside.breaks("nodes", operation, mode)
    async with Http(outside.url, timeout=patience_for(mode)) as http:
        with pytest.raises(fault):
            await asks(SimulatedNode(http), operation)

        assert await outside.books("nodes") == []
        await asks(SimulatedNode(http), operation)


async def test_a_part_of_the_work_may_be_stopped(outside: Outside) -> None:
    part = (OfferLine(line=1, sku="LAMP-01", quantity=1),)
    await outside.hurries()
    async with Http(outside.url, timeout=PATIENT) as http:
        await SimulatedNode(http).cancel(STOP.model_copy(update={"lines": part}))

    assert await outside.books("nodes") == [("cancel", "A-1-F1:cancel:1")]


async def test_one_fulfillment_order_is_never_two_kinds_of_work(outside: Outside) -> None:
    more = (OfferLine(line=1, sku="LAMP-01", quantity=3),)
    async with Http(outside.url, timeout=PATIENT) as http:
        await SimulatedNode(http).offer(WORK)
        with pytest.raises(KeyReused):
            await SimulatedNode(http).offer(WORK.model_copy(update={"lines": more}))
