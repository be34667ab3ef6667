"""What a return waits for: since when, until when, what happens then, what can be done now."""

from collections import Counter
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any

from oms.explain import Action, Wait, parked_wait
from oms.numbers import return_workflow_id
from oms.orders import Order
from oms.return_agenda import (
    awaits_goods,
    has_left,
    holder_of,
    is_unsent,
    must_leave,
    refund_step,
    refunds_of,
    return_waiting,
)
from oms.returns import Return


def explain_return(order: Order, back: Return) -> tuple[Wait, ...]:
    """Tell everything a return waits for; nothing once it is closed."""
    if back.closed_at is not None:
        return ()
    waits = (*_on_people(order, back), *_on_goods(back), *_on_money(order, back))
    return waits or (_on_the_end(back),)


def explain_returns(order: Order, told: Collection[Wait]) -> tuple[Wait, ...]:
    """Tell what the returns of an order wait for, each by its name, but what was `told` already.

    Parcels that turned round are the order's own to tell while it is open.
    """
    steps = {wait.step for wait in told} - {None}
    return tuple(
        wait.model_copy(update={"waiting_for": f"{back.short_id}: {wait.waiting_for}"})
        for back in order.returns
        if order.closed_at is not None or back.kind != "undeliverable"
        for wait in explain_return(order, back)
        if wait.step not in steps
    )


def _in_words(back: Return) -> str:
    """What is waited for, as the other waits say it: no sentence of its own."""
    words = return_waiting(back).removesuffix(".")
    return words.replace("The ", "the ", 1) if words.startswith("The ") else words


def _on_people(order: Order, back: Return) -> Iterator[Wait]:
    for step in order.parked:
        if step.workflow_id == return_workflow_id(back.id):
            yield parked_wait(order, step)
    if back.approved_at is None and not back.fell_away:
        yield Wait(
            waiting_for="a person to approve or decline it",
            since=back.requested_at,
            then="nothing, until somebody decides",
            actions=(_action(back, "approve"), _action(back, "decline")),
        )


def _on_goods(back: Return) -> Iterator[Wait]:
    if back.approved_at is None or back.fell_away:
        return
    if is_unsent(back):
        yield Wait(
            waiting_for=_in_words(back),
            since=back.approved_at,
            until=_next_of(None if back.reminded_at else back.remind_at, back.expire_at),
            then="the customer is reminded, and then "
            + ("a person is called" if has_left(back) else "it expires"),
            actions=(
                *(() if has_left(back) else (_action(back, "cancel"),)),
                _receive(back),
            ),
        )
    elif awaits_goods(back):
        yield Wait(
            waiting_for=_in_words(back),
            since=back.received_at or back.scanned_at or back.approved_at,
            until=back.receive_by,
            then="a person is called",
            actions=(_receive(back),),
        )
    yield from _on_inspection(back)


def _on_inspection(back: Return) -> Iterator[Wait]:
    waiting = [lot for lot in back.lots if lot.state == "received"]
    if waiting:
        yield Wait(
            waiting_for=f"{waiting[0].location} to inspect what came back",
            since=waiting[0].at,
            until=back.inspect_by,
            then="a person is called",
            actions=(_inspect(back),),
        )
    refused = [lot for lot in back.lots if lot.state == "rejected"]
    if refused:
        yield Wait(
            waiting_for="what was refused to leave for the customer",
            since=refused[0].at,
            until=back.inspect_by if must_leave(back) else None,
            then="a person is called" if must_leave(back) else "it is disposed of",
            actions=(_action(back, "hand-back"),),
        )


def _next_of(*moments: datetime | None) -> datetime | None:
    return min((moment for moment in moments if moment is not None), default=None)


def _on_money(order: Order, back: Return) -> Iterator[Wait]:
    for entry in refunds_of(order, back):
        step = refund_step(entry)
        if entry.is_unsettled and order.is_held_back(entry):
            yield Wait(
                waiting_for=f"the captures of {holder_of(entry)} to be settled",
                since=entry.at,
                then=f"{step} goes out",
            )
        elif entry.is_open and not any(each.step == step for each in order.parked):
            yield Wait(
                waiting_for=f"the provider to settle {step}",
                since=entry.at,
                then="it is looked up until its outcome is known",
                last_error=entry.reason,
            )


def _on_the_end(back: Return) -> Wait:
    return Wait(
        waiting_for="its process to do what is due",
        since=back.received_at or back.requested_at,
        then="the return is closed",
    )


def _receive(back: Return) -> Action:
    """What is still awaited, as if it came as it should."""
    awaited = [
        {"line": each.line, "quantity": each.expected, "condition": "as_new"}
        for each in back.lines
        if each.expected
    ]
    return _action(back, "receive", location=back.location or "", lines=awaited)


def _inspect(back: Return) -> Action:
    """What waits to be looked at, as if all of it were taken."""
    units: Counter[tuple[int, str]] = Counter()
    for lot in back.lots:
        if lot.state == "received":
            units[lot.line, lot.condition] += lot.quantity
    lines = [
        {"line": line, "quantity": count, "condition": condition, "accepted": True}
        for (line, condition), count in units.items()
    ]
    return _action(back, "inspect", lines=lines)


def _action(back: Return, verb: str, **body: Any) -> Action:
    return Action(action=verb, method="POST", path=f"/v1/returns/{back.id}/{verb}", body=body)
