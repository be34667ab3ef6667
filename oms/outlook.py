"""Whether a promise will be kept, and when the goods are to be expected, as things are now."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from oms.promises import (
    Kind,
    Milestone,
    Place,
    Promise,
    Terms,
    Units,
    arrival,
    collected,
    delivered,
)

SLACK = timedelta(minutes=1)
"""A milestone is missed when it has passed by this: books and clocks need a moment, too."""

Standing = Literal["kept", "at_risk", "missed"]
Stage = Literal["waiting", "allocated", "released", "handed_over", "done"]
_FAR: Mapping[Stage, int] = {
    "waiting": 0, "allocated": 1, "released": 2, "handed_over": 3, "done": 4,
}  # fmt: skip
_NEEDS: Mapping[Kind, Stage] = {
    "release_by": "released",
    "ready_by": "done",
    "hand_over_by": "handed_over",
    "deliver_by": "done",
}


class Part(NamedTuple):
    """Where units of a confirmed order are.

    `waiting` for goods that are there at `at` (None: nobody knows), `allocated`, `released` to
    their location, `handed_over`, or `done` (delivered, or ready to be collected), since `at`.
    """

    stage: Stage
    location: str
    at: datetime | None = None


class Outlook(NamedTuple):
    """How a promise stands. `expected`: when all is done; None when nobody knows."""

    standing: Standing
    expected: datetime | None


def outlook(
    *,
    by: datetime | None,
    milestones: Sequence[Milestone],
    before: Standing,
    parts: Sequence[Part],
    terms: Terms,
    now: datetime,
) -> Outlook:
    """Say whether a promise is kept, at risk or missed, and when the goods are to be expected.

    At risk: a milestone has passed without its fact, or the goods are expected later than was
    promised. What was missed stays missed. Where no date was told, none can be missed.
    """
    moments = [_expected(part, by, terms, now) for part in parts]
    known = [at for at in moments if at is not None]
    expected = max(known) if known and len(known) == len(moments) else None
    if by is None or not parts:
        return Outlook(before, expected)
    done = all(part.stage == "done" for part in parts)
    if before == "missed" or (now > by and not done) or (done and expected and expected > by):
        return Outlook("missed", expected)
    late = expected is None or expected > by
    passed = any(
        now > milestone.at + SLACK
        and any(_FAR[p.stage] < _FAR[_NEEDS[milestone.kind]] for p in parts)
        for milestone in milestones
    )
    return Outlook("at_risk" if late or (passed and not done) else "kept", expected)


def _expected(part: Part, by: datetime | None, terms: Terms, now: datetime) -> datetime | None:
    """When these units are with the customer, as things are now."""
    match part.stage:
        case "done":
            return part.at
        case "waiting":
            if part.at is None:
                return None
            return _by(terms.promise(now, Units(part.location, part.at)))
        case "handed_over":
            return _on_its_way(part, by, terms, now)
    place = terms.places.get(part.location)
    if place is None or not _counts(place, terms):
        return by or _by(terms.promise(now, Units(part.location)))
    since = part.at if part.stage == "released" and part.at is not None else now
    in_time = _by(_after(since, place, terms))
    if part.stage == "allocated" or in_time is None:
        return in_time
    # Given to its place in time: as counted then, unless the place is behind.
    handed_over = _hand_over_of(since, place, terms)
    return in_time if handed_over is None or handed_over >= now else _by(_after(now, place, terms))


def _on_its_way(part: Part, by: datetime | None, terms: Terms, now: datetime) -> datetime | None:
    place = terms.places.get(part.location)
    service = terms.service_for(place) if place is not None else None
    if service is None or part.at is None:
        return by
    due = arrival(part.at, service, terms.destination, service.transit[1])
    # What is late is expected on the next day that the carrier delivers.
    return due if due is None or due >= now else arrival(now, service, terms.destination, 0)


def _counts(place: Place, terms: Terms) -> bool:
    if terms.method == "store_pickup":
        return place.calendar.is_told
    return terms.service_for(place) is not None


def _after(at: datetime, place: Place, terms: Terms) -> Promise | None:
    if terms.method == "store_pickup":
        return collected(at, place.calendar)
    service = terms.service_for(place)
    assert service is not None, "asked before"
    return delivered(at, place.calendar, service, terms.destination)


def _hand_over_of(at: datetime, place: Place, terms: Terms) -> datetime | None:
    """When the place is done with what it was given then."""
    promise = _after(at, place, terms)
    if promise is None:
        return None
    return next(m.at for m in promise.milestones if m.kind in ("hand_over_by", "ready_by"))


def _by(promise: Promise | None) -> datetime | None:
    return None if promise is None else promise.by
