"""A return: label, wait for the goods, give the money back, put the goods away, close.

What customers, stores and carriers do reaches the books as facts; this process does what is due
then, watches the deadlines, and calls people where something stays away.
"""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.messages import AtReturn, CommandAt
    from activities.orders import OrderActivities
    from activities.returns import ReturnActivities, ReturnCarrierActivities
    from oms import agenda as due_for
    from oms import return_agenda as returns
    from oms.agenda import Agenda, Due
    from oms.book import Command, DecidePayment, DecideReturn
    from oms.decisions import Decision
    from workflows.messages import ReturnRef
    from workflows.parcels import buy_label, look_for_parcel
    from workflows.repairs import Repairable
    from workflows.settling import settle
    from workflows.steps import Process, in_books

_STEPS_IN_BOOKS = {
    returns.REMIND: (ReturnActivities.remind_customer, "Remind: nothing was sent yet"),
    due_for.EXPIRE: (ReturnActivities.expire_return, "Not sent in time: expect it no longer"),
    returns.GIVE_BACK: (ReturnActivities.give_back, "Decide what is given back"),
    returns.PUT_AWAY: (ReturnActivities.put_away, "Put away what was accepted"),
    returns.LET_EXCHANGE_GO: (ReturnActivities.let_exchange_go, "The exchange may leave"),
    returns.CANCEL_EXCHANGE: (ReturnActivities.cancel_exchange, "The exchange is called off"),
    due_for.CLOSE: (ReturnActivities.close_return, "Close"),
}


@workflow.defn(name="Return")
class ReturnWorkflow(Repairable):
    """Bring one return to its end: the money is back, and the goods lie where they belong."""

    @workflow.init
    def __init__(self, ref: ReturnRef) -> None:
        self._ref, self._id = ref, ref.id
        self._process = Process(
            number=ref.order,
            title=f"Return {ref.id}",
            read=self._read,
            carry_out=self._carry_out,
            decide=self._decide,
            stage="requested",
            heal=timedelta(seconds=ref.heal_seconds),
            parked=ref.parked,
            explained_by=f"oms returns explain {ref.id}",
        )

    @workflow.run
    async def run(self, ref: ReturnRef) -> str:
        """Do what is due until nothing is left. Returns how it ended."""
        if not await self._process.run():
            workflow.continue_as_new(ref.model_copy(update={"parked": self._process.parked}))
        return self._process.agenda.stage

    async def _read(self) -> Agenda:
        return await in_books(ReturnActivities.read_return, self._now(), "See what is due")

    def _now(self) -> AtReturn:
        return AtReturn(id=self._id, at=workflow.now())

    async def _carry_out(self, due: Due) -> Agenda | None:
        match due.do:
            case due_for.SETTLE:
                poll = self._ref.payment_poll_seconds
                return await settle(self._process, due, poll, of_return=self._id)
            case due_for.BUY_LABEL:
                return await buy_label(self._process, due, ReturnCarrierActivities.buy_return_label)
            case due_for.POLL:
                return await look_for_parcel(
                    self._process, due, ReturnCarrierActivities.look_for_return_parcel
                )
        call, words = _STEPS_IN_BOOKS[due.do]
        return await self._process.step(due, lambda: in_books(call, self._now(), words))

    async def _decide(self, due: Due, decision: Decision, id: str) -> None:
        number, command = self._ref.order, self._command(due, decision)
        if isinstance(command, DecidePayment):
            number = command.key.partition(":")[0]
        await in_books(
            OrderActivities.carry_out,
            CommandAt(
                number=number, id=id, command=command, at=workflow.now(), actor=decision.actor
            ),
            f"{due.step}: {decision.action} by {decision.actor}",
        )

    def _command(self, due: Due, decision: Decision) -> Command:
        if due.do == due_for.SETTLE:
            return DecidePayment(key=due.about, decision=decision)
        return DecideReturn(return_id=self._id, decision=decision)
