"""How the demonstration ends: the outcome, one order's story, the audit, and where to look."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from rich.console import Console
from rich.text import Text

from oms.words import count_of
from workers.api_client import ApiClient
from workers.demo.board import outcome_view, returns_view
from workers.demo.catalogue import Json
from workers.demo.returning import Back, how_they_stand
from workers.demo.runner import Run
from workers.demo.stages import Entry, Outcome, Stage
from workers.demo.surroundings import Place, audit
from workers.order_views import explain_view, timeline_view
from workers.return_views import reckoning_view

CANDIDATES = 12
"""Delivered orders looked through for one with a story to tell."""

MOST_EXPLAINED = 5


@dataclass(frozen=True)
class Ending:
    """What a run came to. `seconds` is from the first order to the last verdict."""

    outcome: Outcome
    seconds: float
    violations: Sequence[Any]
    backs: Sequence[Back] = ()

    @property
    def is_good(self) -> bool:
        """Say whether every order has its verdict, every return its end, and the books agree."""
        over = all(back.is_over for back in self.backs)
        return over and not self.outcome.unsettled and not self.violations

    def as_json(self) -> str:
        """Give the outcome for machines. `returns`: those taken; `returns_refused`: by reason."""
        refused = [back for back in self.backs if back.code is not None]
        counts = self.outcome.counts
        return json.dumps({
            "orders": self.outcome.orders,
            "delivered": counts.get(Stage.DELIVERED, 0),
            "refused": counts.get(Stage.REFUSED, 0),
            "cancelled": counts.get(Stage.CANCELLED, 0),
            "parked": counts.get(Stage.PARKED, 0),
            "without_verdict": [each.number or each.reference for each in self.outcome.unsettled],
            "returns": sum(back.id is not None for back in self.backs),
            "returns_closed": sum(back.status == "closed" for back in self.backs),
            "returns_refused": how_they_stand(refused),
            "returns_wrong": [back.wrong for back in self.backs if back.wrong is not None],
            "seconds": round(self.seconds, 1),
            "audit": {"violations": list(self.violations)},
        })  # fmt: skip


async def ending_of(run: Run, seconds: float) -> Ending:
    """Close the run: have the books compared."""
    return Ending(run.outcome, seconds, (await audit()).violations, run.backs)


async def show_ending(
    console: Console, api: ApiClient, run: Run, ending: Ending, place: Place
) -> None:
    """Tell a visitor how it went and where to look further."""
    console.print()
    console.print(outcome_view(ending.outcome))
    if ending.backs:
        console.print()
        console.print(returns_view(ending.backs))
    if story := await _story(api, run):
        console.print()
        console.print(timeline_view(story.events, title=story.title))
    back = _told(ending.backs)
    if back is not None:
        await _tell_return(console, api, back)
    for entry in ending.outcome.unsettled[:MOST_EXPLAINED]:
        await _explain(console, api, entry)
    console.print()
    console.print(_audit_line(ending.violations))
    shown = None if back is None else back.id
    _show_where_to_look(console, place, story.number if story else None, shown)


@dataclass(frozen=True)
class _Story:
    number: str
    title: str
    events: Sequence[Json]


async def _story(api: ApiClient, run: Run) -> _Story | None:
    """Choose the repaired order, else the delivered one to which the most happened."""
    if run.repaired:
        events = await _timeline(api, run.repaired)
        return _Story(run.repaired, f"Order {run.repaired}: parked, and repaired", events)
    delivered = [entry.number for entry in run.entries if entry.stage is Stage.DELIVERED]
    lives = [(number, await _timeline(api, number)) for number in delivered[:CANDIDATES] if number]
    if not lives:
        return None
    number, events = max(lives, key=lambda life: len(life[1]))
    return _Story(number, f"Order {number}", events)


async def _timeline(api: ApiClient, number: str) -> Sequence[Json]:
    return [event async for event in api.every(f"/v1/orders/{quote(number, safe='')}/timeline")]


def _told(backs: Sequence[Back]) -> Back | None:
    """The return whose story is told: one that came by post, if there is one."""
    closed = [back for back in backs if back.id is not None and back.status == "closed"]
    return next((back for back in closed if back.wanted.via == "post"), next(iter(closed), None))


async def _tell_return(console: Console, api: ApiClient, back: Back) -> None:
    """Tell what happened to a return, and why it gave back what it did."""
    path = f"/v1/returns/{quote(str(back.id), safe='')}"
    events = [event async for event in api.every(f"{path}/timeline")]
    why = (await api.get(f"{path}/explain"))["refund"]
    how = "by post" if back.wanted.via == "post" else "at a till"
    console.print()
    console.print(timeline_view(events, title=f"Return {back.id}: {how}"))
    console.print(reckoning_view(why))


async def _explain(console: Console, api: ApiClient, entry: Entry) -> None:
    """Say of an order without a verdict what it waits for."""
    if entry.number is None:
        console.print(Text(f"{entry.reference} was never answered.", "red"))
        return
    waits = await api.get(f"/v1/orders/{quote(entry.number, safe='')}/explain")
    console.print(Text(f"{entry.number} has no verdict ({entry.stage}):", "red"))
    console.print(explain_view(entry.number, waits["data"]))


def _audit_line(violations: Sequence[Any]) -> Text:
    if not violations:
        return Text("Audit: all books agree.", "bold green")
    lines = "".join(
        f"\n  {json.dumps(violation, ensure_ascii=False)}" for violation in violations[:20]
    )
    return Text(f"Audit: {count_of(len(violations), 'violation')}.{lines}", "bold red")


def _show_where_to_look(
    console: Console, place: Place, number: str | None, back: str | None
) -> None:
    ui = place.running.temporal_ui
    lines = [
        ("Temporal UI", ui or f"of the server at {place.running.temporal}"),
        ("API docs", f"{place.running.api}/docs"),
        ("one order", f"oms order show {number or 'NUMBER'}"),
    ]
    if back:
        lines.append(("one return", f"oms returns show {back}"))
    if ui and number:
        lines.insert(1, ("its run", f"{ui}/namespaces/default/workflows/order%2F{number}"))
    for label, where in lines:
        # Unbroken, so that it can be clicked and copied in a narrow terminal too.
        console.print(Text.assemble((f"{label:<13}", "bold"), where), soft_wrap=True)
    if place.ours:
        console.print("This stack stops now; `make up` starts it again, with these orders.")
