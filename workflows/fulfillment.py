"""A fulfillment order: offer, accept, pick, pack, label, hand over, follow to the door.

What the location does reaches the books as facts; this process offers the work, watches the
deadlines, buys labels, and asks after parcels that say nothing.
"""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.carriers import CarrierActivities
    from activities.messages import AtFulfillment, CommandAt
    from activities.nodes import NodeActivities
    from activities.orders import OrderActivities
    from oms import agenda as due_for
    from oms.agenda import Agenda, Due, new_fulfillment
    from oms.book import DecideFulfillment
    from oms.decisions import Decision
    from workflows.messages import FulfillmentRef
    from workflows.parcels import buy_label, look_for_parcel
    from workflows.repairs import Repairable
    from workflows.steps import Process, in_books, outside


@workflow.defn(name="FulfillmentOrder")
class FulfillmentWorkflow(Repairable):
    """Bring one location's part of an order to its end: delivered, collected, or taken away."""

    @workflow.init
    def __init__(self, ref: FulfillmentRef) -> None:
        self._id, self._number = ref.id, ref.order
        self._process = Process(
            number=ref.order,
            title=f"Fulfillment order {ref.id}",
            read=self._read,
            carry_out=self._carry_out,
            decide=self._decide,
            stage="open",
            heal=timedelta(seconds=ref.heal_seconds),
            parked=ref.parked,
            first=new_fulfillment(ref.id) if ref.is_new else None,
        )

    @workflow.run
    async def run(self, ref: FulfillmentRef) -> str:
        """Do what is due until nothing is left. Returns how it ended."""
        if not await self._process.run():
            now = {"parked": self._process.parked, "is_new": False}
            workflow.continue_as_new(ref.model_copy(update=now))
        return self._process.agenda.stage

    async def _read(self) -> Agenda:
        return await in_books(OrderActivities.read_fulfillment, self._now(), "See what is due")

    def _now(self) -> AtFulfillment:
        return AtFulfillment(id=self._id, at=workflow.now())

    async def _carry_out(self, due: Due) -> Agenda | None:
        match due.do:
            case due_for.OFFER:
                return await self._offer(due)
            case due_for.EXPIRE:
                return await self._expire(due)
            case due_for.ASK_TO_STOP:
                return await self._ask_to_stop(due)
            case due_for.BUY_LABEL:
                return await buy_label(self._process, due, CarrierActivities.buy_label)
            case due_for.POLL:
                return await look_for_parcel(self._process, due, CarrierActivities.look_for_parcel)
            case _:
                raise AssertionError(f"nobody knows how to {due.do}")

    async def _offer(self, due: Due) -> Agenda | None:
        return await self._process.step(
            due,
            lambda: outside(NodeActivities.offer_work, self._now(), f"Offer {due.about}"),
            "done_manually",
            "fail",
        )

    async def _expire(self, due: Due) -> Agenda | None:
        words = "No answer in time: take the work back"
        return await self._process.step(
            due, lambda: in_books(OrderActivities.expire_offer, self._now(), words)
        )

    async def _ask_to_stop(self, due: Due) -> Agenda | None:
        return await self._process.step(
            due,
            lambda: outside(NodeActivities.ask_to_stop, self._now(), f"Ask to stop {due.about}"),
            "done_manually",
            "fail",
        )

    async def _decide(self, due: Due, decision: Decision, id: str) -> None:
        await in_books(
            OrderActivities.carry_out,
            CommandAt(
                number=self._number,
                id=id,
                command=DecideFulfillment(fulfillment_order=self._id, decision=decision),
                at=workflow.now(),
                actor=decision.actor,
            ),
            f"{due.step}: {decision.action} by {decision.actor}",
        )
