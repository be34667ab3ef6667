"""By when: what a customer is promised, counted over calendars.

A place works in the hours of its own time zone, on days that are no holiday there. What is
released to it before its cut-off is worked on that day; a carrier fetches it when the place closes,
travels so many working days of the destination, and delivers until a time of day there. Everything
is counted from a moment that is passed in, so that the same question has the same answer on any
machine, and a later question never an earlier answer.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

from oms.ports import Message

LOOKS_AHEAD = 400
"""Days after which a place that never opens, or a carrier that never drives, is given up."""

READY_AT_FULL = timedelta(minutes=15)
"""A customer is told to come at a full quarter of an hour."""

WORKING_WEEK = frozenset(range(5))
"""Monday to Friday."""

_INSTANT = timedelta(microseconds=1)
_DAY = timedelta(days=1)
_MIDNIGHT = 24 * 60

IsHoliday = Callable[[date], bool]
Kind = Literal["release_by", "ready_by", "hand_over_by", "deliver_by"]


class Milestone(Message):
    """A moment by which something must have happened, or the promise is in danger.

    `release_by`: given to the location. `ready_by`: the customer may collect. `hand_over_by`: the
    carrier has it. `deliver_by`: the customer has it.
    """

    kind: Kind
    at: datetime


class Promise(Message):
    """What is promised: `by`, never before `earliest`, and the moments it rests on."""

    by: datetime
    earliest: datetime
    milestones: tuple[Milestone, ...]


# --- what is counted over -------------------------------------------------------------------


class Window(NamedTuple):
    """A place is open from one moment to another."""

    opens: datetime
    closes: datetime


@dataclass(frozen=True, slots=True)
class Calendar:
    """When a place works. Times of day are minutes of the local day.

    `hours` by weekday, Monday 0; None: round the clock. `cutoff`: what comes later is for the next
    day. `is_closed`: the days it is closed besides, holidays and others.
    """

    zone: ZoneInfo
    hours: Mapping[int, tuple[int, int]] | None
    cutoff: int | None
    handling: timedelta
    is_closed: IsHoliday

    @property
    def is_told(self) -> bool:
        """Whether the place told of hours or a cut-off; else nothing can be counted."""
        return self.hours is not None or self.cutoff is not None

    def window(self, day: date) -> Window | None:
        """When it is open on a day; None if it is not."""
        if self.is_closed(day):
            return None
        hours = (0, _MIDNIGHT) if self.hours is None else self.hours.get(day.weekday())
        if hours is None:
            return None
        window = Window(moment(day, hours[0], self.zone), moment(day, hours[1], self.zone))
        # The hour that is left out in spring may have swallowed all of it.
        return window if window.opens < window.closes else None

    def last_call(self, day: date, window: Window) -> datetime:
        """The latest moment at which what comes is still for this day."""
        if self.cutoff is None:
            return window.closes
        return min(window.closes, moment(day, self.cutoff, self.zone))


@dataclass(frozen=True, slots=True)
class Service:
    """How goods get from a place to a customer, and what it costs them.

    `transit`: fewest and most delivering days. Days are weekdays, Monday 0; `deliver_until` is
    minutes of the customer's day. `countries` may be `*`; empty kinds and groups are any.
    """

    id: str | None
    transit: tuple[int, int]
    picks_up_on: frozenset[int] = WORKING_WEEK
    delivers_on: frozenset[int] = WORKING_WEEK
    deliver_until: int = 18 * 60
    cost_minor: int = 0
    currency: str | None = None
    from_kinds: frozenset[str] = frozenset()
    from_groups: frozenset[str] = frozenset()

    def fits(self, place: "Place") -> bool:
        """Whether it fetches from this place."""
        right_kind = not self.from_kinds or place.kind in self.from_kinds
        return right_kind and (
            not self.from_groups or not self.from_groups.isdisjoint(place.groups)
        )


@dataclass(frozen=True, slots=True)
class Place:
    """What a promise needs to know of a location."""

    id: str
    kind: str
    groups: frozenset[str]
    calendar: Calendar
    currency: str | None = None


@dataclass(frozen=True, slots=True)
class Destination:
    """Where the customer is."""

    zone: ZoneInfo
    is_holiday: IsHoliday


def moment(day: date, minutes: int, zone: ZoneInfo) -> datetime:
    """A time of a local day, which may be 24:00, as a moment.

    An hour that comes twice in autumn is the first of the two; one that is left out in spring is
    as much later.
    """
    if minutes >= _MIDNIGHT:
        day, minutes = day + _DAY, minutes - _MIDNIGHT
    local = datetime.combine(day, time(minutes // 60, minutes % 60), zone)
    return local.astimezone(UTC)


def local_day(at: datetime, zone: ZoneInfo) -> date:
    """The day it is there."""
    return at.astimezone(zone).date()


# --- a place at work ------------------------------------------------------------------------


def _open_from(at: datetime, calendar: Calendar) -> Iterator[tuple[date, Window]]:
    """The days a place is open and has not closed by then."""
    day = local_day(at, calendar.zone) - _DAY
    for _ in range(LOOKS_AHEAD):
        window = calendar.window(day)
        if window is not None and window.closes >= at:
            yield day, window
        day += _DAY


def work_begins(at: datetime, calendar: Calendar) -> datetime | None:
    """When a place begins with what it is given then; None if it never does."""
    for day, window in _open_from(at, calendar):
        if at <= calendar.last_call(day, window):
            return max(at, window.opens)
    return None


def _work_ends(begun: datetime, calendar: Calendar) -> tuple[datetime, Window] | None:
    """When the work that began then is done, and in which opening."""
    left = calendar.handling
    for _, window in _open_from(begun, calendar):
        from_when = max(begun, window.opens)
        if left <= window.closes - from_when:
            return from_when + left, window
        left -= window.closes - from_when
    return None


def _latest_release(done_by: datetime, calendar: Calendar) -> datetime:
    """The latest moment at which work may be given to be done by then: the cut-off, or handling."""
    left, day = calendar.handling, local_day(done_by, calendar.zone) + _DAY
    for _ in range(LOOKS_AHEAD):
        day -= _DAY
        window = calendar.window(day)
        if window is None or window.opens > done_by:
            continue
        until = min(done_by, window.closes)
        if left <= until - window.opens:
            return min(until - left, calendar.last_call(day, window))
        left -= until - window.opens
    return done_by


# --- one part of an order -------------------------------------------------------------------


def collected(at: datetime, calendar: Calendar) -> Promise | None:
    """Promise goods ready in a store for what is released to it `at`."""
    begun = work_begins(at, calendar)
    done = None if begun is None else _work_ends(begun, calendar)
    if done is None:
        return None
    ready = min(_full(done[0]), done[1].closes)
    return Promise(
        by=ready,
        earliest=ready,
        milestones=(
            Milestone(kind="release_by", at=_latest_release(ready, calendar)),
            Milestone(kind="ready_by", at=ready),
        ),
    )


def delivered(
    at: datetime, calendar: Calendar, service: Service, destination: Destination
) -> Promise | None:
    """Promise goods at the customer's door for what is released to the place `at`."""
    begun = work_begins(at, calendar)
    done = None if begun is None else _work_ends(begun, calendar)
    handed_over = None if done is None else _handed_over(done[0], calendar, service)
    if handed_over is None:
        return None
    first = arrival(handed_over, service, destination, service.transit[0])
    last = arrival(handed_over, service, destination, service.transit[1])
    if first is None or last is None:
        return None
    return Promise(
        by=last,
        earliest=first,
        milestones=(
            Milestone(kind="release_by", at=_latest_release(handed_over, calendar)),
            Milestone(kind="hand_over_by", at=handed_over),
            Milestone(kind="deliver_by", at=last),
        ),
    )


def _handed_over(done: datetime, calendar: Calendar, service: Service) -> datetime | None:
    """When the carrier fetches what is packed: as the place closes on a day the carrier comes."""
    for day, window in _open_from(done, calendar):
        if day.weekday() in service.picks_up_on:
            return window.closes
    return None


def arrival(
    handed_over: datetime, service: Service, destination: Destination, days: int
) -> datetime | None:
    """Until when a parcel is delivered that needs so many delivering days of the destination."""
    # What is handed over at midnight was so on the day that ended.
    day = local_day(handed_over - _INSTANT, destination.zone)
    needed = days
    for _ in range(LOOKS_AHEAD):
        if _delivers(day, service, destination) and needed <= 0:
            until = moment(day, service.deliver_until, destination.zone)
            if until >= handed_over:
                return until
        day += _DAY
        if _delivers(day, service, destination):
            needed -= 1
    return None


def _delivers(day: date, service: Service, destination: Destination) -> bool:
    return day.weekday() in service.delivers_on and not destination.is_holiday(day)


def _full(at: datetime) -> datetime:
    """The next full quarter of an hour."""
    past = (at - datetime(1970, 1, 1, tzinfo=UTC)) % READY_AT_FULL
    return at + (READY_AT_FULL - past) if past else at


def in_days(at: datetime, days: int, method: str) -> Promise:
    """Promise without any calendar: so many days from then."""
    by = at + timedelta(days=days)
    last: Kind = "ready_by" if method == "store_pickup" else "deliver_by"
    return Promise(by=by, earliest=by, milestones=(Milestone(kind=last, at=by),))


# --- a whole order --------------------------------------------------------------------------


class Units(NamedTuple):
    """Units that one place serves. `there_at`: when backordered goods are there; None: now."""

    location: str
    there_at: datetime | None = None


@dataclass(frozen=True)
class Terms:
    """All that dates and prices are counted from. `days`: promised where nothing can be counted."""

    method: str
    places: Mapping[str, Place]
    services: Sequence[Service]
    destination: Destination
    grace: timedelta
    days: int
    _known: dict[tuple[str, datetime, datetime], Promise | None] = field(default_factory=dict)

    def service_for(self, place: Place) -> Service | None:
        """The service a parcel from this place goes by: the cheapest, then fastest that fits.

        Where none does, the days promised without services are counted as days on the road; where
        the place tells no hours either, nothing is counted.
        """
        fitting = [service for service in self.services if service.fits(place)]
        if fitting:
            return min(fitting, key=lambda s: (s.cost_minor, s.transit[1], s.id or ""))
        return Service(id=None, transit=(self.days, self.days)) if place.calendar.is_told else None

    def promise(self, now: datetime, units: Units) -> Promise | None:
        """When units of an order that is confirmed now are with the customer; None: never."""
        there_at = max(now, units.there_at or now)
        key = (units.location, now, there_at)
        if key not in self._known:
            self._known[key] = self._count(now, units.location, there_at)
        return self._known[key]

    def _count(self, now: datetime, location: str, there_at: datetime) -> Promise | None:
        place = self.places[location]
        released = max(now + self.grace, there_at)
        if self.method == "store_pickup":
            if place.calendar.is_told:
                return collected(released, place.calendar)
        elif (service := self.service_for(place)) is not None:
            return delivered(released, place.calendar, service, self.destination)
        return in_days(there_at, self.days, self.method)

    def promise_all(self, now: datetime, units: Iterable[Units]) -> Promise | None:
        """The promise of an order: its latest part counts. None if one of them has no date."""
        parts = [self.promise(now, each) for each in units]
        known = [part for part in parts if part is not None]
        if not known or len(known) < len(parts):
            return None
        latest: dict[Kind, datetime] = {}
        for milestone in (m for part in known for m in part.milestones):
            latest[milestone.kind] = max(milestone.at, latest.get(milestone.kind, milestone.at))
        return Promise(
            by=max(part.by for part in known),
            earliest=max(part.earliest for part in known),
            milestones=tuple(
                Milestone(kind=kind, at=at)
                for kind, at in sorted(latest.items(), key=lambda pair: (pair[1], pair[0]))
            ),
        )

    def cost(self, locations: Iterable[str]) -> tuple[int, str | None]:
        """What the customer pays for delivery, once an order: the dearest service it needs."""
        if self.method == "store_pickup":
            services = []
        else:
            found = [self.service_for(self.places[each]) for each in sorted(set(locations))]
            services = [service for service in found if service is not None and service.currency]
        if services:
            dearest = max(services, key=lambda service: service.cost_minor)
            return dearest.cost_minor, dearest.currency
        told = (self.places[each].currency for each in sorted(set(locations)))
        return 0, next((currency for currency in told if currency), None)
