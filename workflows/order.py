"""An order: reserve, authorise, confirm, route, serve, capture, close.

The books say what is due (`oms.agenda`); this process does it, waits, and takes commands.
"""

from contextlib import suppress
from datetime import timedelta

from temporalio import workflow
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.exceptions import WorkflowAlreadyStartedError

with workflow.unsafe.imports_passed_through():
    from activities.messages import AtOrder, CommandAt
    from activities.orders import OrderActivities
    from oms import agenda as due_for
    from oms.agenda import Agenda, Due
    from oms.book import CancelUnits, Command, DecidePayment, PlaceHold, ReleaseHold, Reroute
    from oms.cancelling import cancelled_lines
    from oms.decisions import Decision
    from oms.numbers import fulfillment_workflow_id
    from workflows.fulfillment import FulfillmentWorkflow
    from workflows.messages import (
        Answer,
        CancelRequest,
        FulfillmentRef,
        HoldRequest,
        OrderRef,
        Placed,
        ReleaseRequest,
        RerouteRequest,
    )
    from workflows.repairs import Repairable
    from workflows.search import LOCATION, ORDER, STAGE
    from workflows.settling import settle
    from workflows.steps import Process, in_books

_STEPS_IN_BOOKS = {
    due_for.RESERVE: (OrderActivities.reserve_stock, "Plan and reserve stock"),
    due_for.RELEASE_RESERVATION: (
        OrderActivities.release_reservation,
        "Give back stock: no payment in time",
    ),
    due_for.CONFIRM: (OrderActivities.confirm_order, "Confirm and promise"),
    due_for.ROUTE: (OrderActivities.route_order, "Give units to locations"),
    due_for.CLOSE: (OrderActivities.close_order, "Close, or void what is left"),
}
_FIRST = Agenda(stage="placing", due=(Due(do=due_for.RESERVE),))
"""What a new order needs first, known without asking; where it has it, nothing changes."""


@workflow.defn(name="Order")
class OrderWorkflow(Repairable):
    """Carry one order from the channel to the doorstep, and leave nothing half done.

    It ends when the business has a verdict: delivered and settled, cancelled, or refused. A step
    that needs a person parks; the run goes on.
    """

    @workflow.init
    def __init__(self, order: OrderRef) -> None:
        self._number = order.number
        self._process = Process(
            number=order.number,
            title=f"Order {order.number}",
            read=self._read,
            carry_out=self._carry_out,
            decide=self._decide,
            stage="placing",
            heal=timedelta(seconds=order.heal_seconds),
            parked=order.parked,
            first=_FIRST if workflow.info().continued_run_id is None else None,
        )
        self._order = order

    @workflow.run
    async def run(self, order: OrderRef) -> str:
        """Do what is due until the order is closed. Returns how it ended."""
        if not await self._process.run():
            workflow.continue_as_new(order.model_copy(update={"parked": self._process.parked}))
        return self._process.agenda.stage

    # --- what is due ---

    async def _read(self) -> Agenda:
        return await in_books(OrderActivities.read_order, self._at(), "See what is due")

    def _at(self) -> AtOrder:
        return AtOrder(number=self._number, at=workflow.now())

    async def _carry_out(self, due: Due) -> Agenda | None:
        if due.do == due_for.SETTLE:
            return await settle(self._process, due, self._order.payment_poll_seconds)
        if due.do == due_for.SERVE:
            await self._serve(due)
            return self._process.agenda
        call, words = _STEPS_IN_BOOKS[due.do]
        return await self._process.step(due, lambda: in_books(call, self._at(), words))

    async def _serve(self, due: Due) -> None:
        """Start the fulfillment order's own process, or find it running."""
        ref = FulfillmentRef(
            id=due.about, order=self._number, heal_seconds=self._order.heal_seconds, is_new=True
        )
        with suppress(WorkflowAlreadyStartedError):
            await workflow.start_child_workflow(
                FulfillmentWorkflow.run,
                ref,
                id=fulfillment_workflow_id(due.about),
                parent_close_policy=workflow.ParentClosePolicy.ABANDON,
                search_attributes=TypedSearchAttributes(
                    [
                        SearchAttributePair(ORDER, self._number),
                        SearchAttributePair(LOCATION, due.location),
                        SearchAttributePair(STAGE, "open"),
                    ]
                ),
                static_summary=f"Fulfillment order {due.about} at {due.location}",
                static_details=f"Part of order {self._number}.",
            )
        self._process.done_once(due)

    # --- commands ---

    async def _command(
        self, command: Command, actor: str, expected_version: int | None = None
    ) -> Answer:
        info = workflow.current_update_info()
        assert info is not None
        answer = await in_books(
            OrderActivities.carry_out,
            CommandAt(
                number=self._number,
                id=info.id,
                command=command,
                at=workflow.now(),
                actor=actor,
                expected_version=expected_version,
            ),
            f"{command.kind.replace('_', ' ')} by {actor}",
        )
        self._process.changed()
        return Answer(refusal=answer.refusal, asked=answer.asked, id=answer.id)

    async def _decide(self, due: Due, decision: Decision, id: str) -> None:
        await in_books(
            OrderActivities.carry_out,
            CommandAt(
                number=self._number,
                id=id,
                command=DecidePayment(key=due.about, decision=decision),
                at=workflow.now(),
                actor=decision.actor,
            ),
            f"{decision.step}: {decision.action} by {decision.actor}",
        )

    @workflow.update(
        description="Wait for the verdict on a new order: confirmed or refused. Takes nothing."
    )
    async def place(self) -> Placed:
        """Wait until the order is confirmed or refused."""
        await workflow.wait_condition(lambda: self._process.agenda.verdict is not None)
        return Placed(verdict=self._process.agenda.verdict or "")

    @workflow.update(
        description='Cancel units: {"reason": "customer asked", "actor": "you"}, or some with'
        ' "lines": [{"line": 1, "quantity": 1}].'
    )
    async def cancel(self, request: CancelRequest) -> Answer:
        """Cancel what has not left; a location that works on it is asked first."""
        lines = None
        if request.lines is not None:
            lines = cancelled_lines([(each.line, each.quantity) for each in request.lines])
        command = CancelUnits(reason=request.reason, lines=lines)
        return await self._command(command, request.actor, request.expected_version)

    @workflow.update(description='Stop the order: {"reason": "fraud", "actor": "you"}.')
    async def hold(self, request: HoldRequest) -> Answer:
        """Put the order on hold."""
        command = PlaceHold(reason=request.reason, note=request.note)
        return await self._command(command, request.actor, request.expected_version)

    @workflow.update(description='Lift a hold: {"hold": "K3M9-QXZ4-7-H1", "actor": "you"}.')
    async def release(self, request: ReleaseRequest) -> Answer:
        """Lift a hold."""
        command = ReleaseHold(hold=request.hold)
        return await self._command(command, request.actor, request.expected_version)

    @workflow.update(
        description='Plan backordered units again: {"actor": "you"}; or move an offer nobody'
        ' accepted: {"fulfillment_order": "K3M9-QXZ4-7-F1", "location": "wh-paris"}.'
    )
    async def reroute(self, request: RerouteRequest) -> Answer:
        """Plan again."""
        command = Reroute(fulfillment_order=request.fulfillment_order, location=request.location)
        return await self._command(command, request.actor, request.expected_version)
