"""Dates are counted over calendars; some by example, the rest by what is always true."""

import os
import time as clock
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.holidays import public_holidays
from oms.outlook import Part, Stage, Standing, outlook
from oms.places import Point, is_country, time_zone
from oms.promises import (
    Calendar,
    Destination,
    Milestone,
    Place,
    Promise,
    Service,
    Terms,
    Units,
    collected,
    delivered,
    work_begins,
)

PARIS, NEW_YORK, KOLKATA = (
    ZoneInfo("Europe/Paris"),
    ZoneInfo("America/New_York"),
    ZoneInfo("Asia/Kolkata"),
)
ZONES = [
    PARIS,
    NEW_YORK,
    KOLKATA,
    ZoneInfo("UTC"),
    ZoneInfo("Australia/Lord_Howe"),
    ZoneInfo("America/Havana"),
    ZoneInfo("Pacific/Apia"),
]
WEEK = dict.fromkeys(range(6), (10 * 60, 19 * 60))
NEVER: frozenset[date] = frozenset()


def a_calendar(
    hours: dict[int, tuple[int, int]] | None = WEEK,
    *,
    zone: ZoneInfo = PARIS,
    cutoff: int | None = 16 * 60,
    handling: int = 60,
    closed: frozenset[date] = NEVER,
    country: str = "FR",
) -> Calendar:
    holiday = public_holidays(country)
    return Calendar(
        zone, hours, cutoff, timedelta(minutes=handling), lambda day: day in closed or holiday(day)
    )


def paris(*when: int) -> datetime:
    return datetime(*when, tzinfo=PARIS)  # type: ignore[arg-type, misc]


FRANCE = Destination(PARIS, public_holidays("FR"))
POST = Service(
    "post", transit=(1, 2), picks_up_on=frozenset(range(6)), delivers_on=frozenset(range(6))
)


# --- by example -----------------------------------------------------------------------------


def test_goods_are_ready_an_hour_after_the_store_is_told() -> None:
    promise = collected(paris(2026, 11, 23, 11, 7), a_calendar())

    assert promise is not None
    assert promise.by == paris(2026, 11, 23, 12, 15)
    assert promise.milestones == (
        Milestone(kind="release_by", at=paris(2026, 11, 23, 11, 15)),
        Milestone(kind="ready_by", at=paris(2026, 11, 23, 12, 15)),
    )


@pytest.mark.parametrize(
    ("asked", "ready"),
    [
        pytest.param(paris(2026, 11, 23, 8), paris(2026, 11, 23, 11), id="before it opens"),
        pytest.param(paris(2026, 11, 23, 16), paris(2026, 11, 23, 17), id="at the cut-off"),
        pytest.param(paris(2026, 11, 23, 16, 1), paris(2026, 11, 24, 11), id="after the cut-off"),
        pytest.param(paris(2026, 11, 21, 17), paris(2026, 11, 23, 11), id="before a Sunday"),
        pytest.param(paris(2026, 12, 24, 17), paris(2026, 12, 26, 11), id="before Christmas"),
        pytest.param(paris(2026, 12, 31, 17), paris(2027, 1, 2, 11), id="at the end of the year"),
    ],
)
def test_a_store_is_ready_within_its_hours(asked: datetime, ready: datetime) -> None:
    promise = collected(asked, a_calendar())

    assert promise is not None
    assert promise.by == ready


def test_work_that_is_not_done_as_the_store_closes_goes_on_when_it_opens() -> None:
    promise = collected(paris(2026, 11, 23, 18, 30), a_calendar(cutoff=None))

    assert promise is not None
    assert promise.by == paris(2026, 11, 24, 10, 30)
    assert promise.milestones[0].at == paris(2026, 11, 23, 18, 30)


def test_a_parcel_is_fetched_as_the_place_closes_and_travels_on_working_days() -> None:
    promise = delivered(paris(2026, 11, 20, 15), a_calendar(), POST, FRANCE)

    assert promise == Promise(
        earliest=paris(2026, 11, 21, 18),
        by=paris(2026, 11, 23, 18),
        milestones=(
            Milestone(kind="release_by", at=paris(2026, 11, 20, 16)),
            Milestone(kind="hand_over_by", at=paris(2026, 11, 20, 19)),
            Milestone(kind="deliver_by", at=paris(2026, 11, 23, 18)),
        ),
    )


def test_the_holidays_of_the_destination_are_no_days_on_the_road() -> None:
    to_bavaria = Destination(ZoneInfo("Europe/Berlin"), public_holidays("DE", "Bayern"))
    to_berlin = Destination(ZoneInfo("Europe/Berlin"), public_holidays("DE", "Berlin"))
    sent = paris(2027, 1, 4, 12)  # Epiphany is Wednesday the 6th, in Bavaria

    late = delivered(sent, a_calendar(), POST, to_bavaria)
    soon = delivered(sent, a_calendar(), POST, to_berlin)

    assert late is not None
    assert soon is not None
    assert late.by == paris(2027, 1, 7, 18)
    assert soon.by == paris(2027, 1, 6, 18)


def test_the_example_of_the_page_about_stock_is_right() -> None:
    weekdays = dict.fromkeys(range(5), (8 * 60, 18 * 60))
    service = Service("post", transit=(1, 2), delivers_on=frozenset(range(6)))
    over = Terms(
        "home",
        {"wh": Place("wh", "warehouse", frozenset(), a_calendar(weekdays))},
        (service,),
        FRANCE,
        timedelta(minutes=15),
        3,
    )

    promise = over.promise(paris(2026, 11, 20, 15, 30), Units("wh"))
    later = over.promise(paris(2026, 11, 20, 15, 50), Units("wh"))

    assert promise is not None
    assert later is not None
    assert promise.earliest == paris(2026, 11, 21, 18)
    assert [each.at for each in promise.milestones] == [
        paris(2026, 11, 20, 16),
        paris(2026, 11, 20, 18),
        paris(2026, 11, 23, 18),
    ]
    assert later.by == paris(2026, 11, 25, 18)


def test_a_carrier_fetches_on_its_days_only() -> None:
    weekdays = Service("days", transit=(1, 1))

    promise = delivered(paris(2026, 11, 20, 17), a_calendar(), weekdays, FRANCE)

    assert promise is not None
    assert promise.milestones[0].at == paris(2026, 11, 23, 16)
    assert promise.by == paris(2026, 11, 24, 18)


def test_the_day_at_the_destination_counts_for_a_parcel_from_across_the_date_line() -> None:
    there = Destination(ZoneInfo("Australia/Sydney"), lambda day: False)
    service = Service("air", transit=(0, 0), delivers_on=frozenset(range(7)))
    california = a_calendar(zone=ZoneInfo("America/Los_Angeles"), country="US")

    promise = delivered(datetime(2026, 11, 23, 20, tzinfo=UTC), california, service, there)

    # Handed over at 19:00 on Monday in Los Angeles: 14:00 on Tuesday in Sydney.
    assert promise is not None
    assert promise.by == datetime(2026, 11, 24, 18, tzinfo=ZoneInfo("Australia/Sydney"))


def test_a_place_without_hours_works_round_the_clock() -> None:
    calendar = a_calendar(None, cutoff=None, handling=0)

    promise = delivered(paris(2026, 11, 23, 23, 59), calendar, POST, FRANCE)

    assert promise is not None
    assert promise.milestones[1].at == paris(2026, 11, 24, 0)
    assert promise.by == paris(2026, 11, 25, 18)


def test_a_closed_week_is_left_out() -> None:
    week = frozenset(date(2026, 12, 28) + timedelta(days=n) for n in range(7))

    promise = collected(paris(2026, 12, 26, 17), a_calendar(closed=week))

    assert promise is not None
    assert promise.by == paris(2027, 1, 4, 11)


def test_a_place_that_never_opens_promises_nothing() -> None:
    shut = a_calendar({})

    assert work_begins(paris(2026, 11, 23, 12), shut) is None
    assert collected(paris(2026, 11, 23, 12), shut) is None
    assert delivered(paris(2026, 11, 23, 12), shut, POST, FRANCE) is None


def test_a_carrier_that_never_delivers_promises_nothing() -> None:
    never = Service("never", transit=(1, 1), delivers_on=frozenset())

    assert delivered(paris(2026, 11, 23, 12), a_calendar(), never, FRANCE) is None


def test_hours_are_local_on_both_sides_of_a_change_of_the_clock() -> None:
    week = dict.fromkeys(range(7), (10 * 60, 19 * 60))
    before = collected(paris(2026, 10, 24, 17), a_calendar(week))
    after = collected(paris(2026, 10, 25, 17), a_calendar(week))

    assert before is not None
    assert after is not None
    assert before.by == datetime(2026, 10, 25, 10, tzinfo=UTC)  # 11:00 in winter
    assert after.by == datetime(2026, 10, 26, 10, tzinfo=UTC)
    assert before.by - paris(2026, 10, 24, 11).astimezone(UTC) == timedelta(hours=25)


def test_an_opening_that_the_change_of_the_clock_swallows_is_none() -> None:
    spring = date(2026, 3, 29)
    calendar = a_calendar({6: (2 * 60 + 10, 2 * 60 + 50)}, cutoff=None, handling=0)

    window = calendar.window(spring)

    assert window is None or window.opens < window.closes


@pytest.mark.parametrize(
    ("country", "town", "zone"),
    [
        ("FR", None, "Europe/Paris"),
        ("US", Point(32.78, -96.8), "America/Chicago"),
        ("US", Point(34.05, -118.24), "America/Los_Angeles"),
        ("RU", Point(55.03, 82.92), "Asia/Novosibirsk"),
        ("BV", None, "UTC"),
    ],
)
def test_the_time_zone_of_a_place_is_that_of_the_nearest_town(
    country: str, town: Point | None, zone: str
) -> None:
    assert time_zone(country, town).key == zone


def test_every_country_has_a_time_zone_that_python_knows() -> None:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    countries = [a + b for a in letters for b in letters if is_country(a + b)]

    assert len({time_zone(country).key for country in countries}) > 200


@pytest.mark.parametrize("region", ["BY", "DE-BY", "Bayern", " bayern "])
def test_a_region_is_known_by_its_code_and_by_its_name(region: str) -> None:
    assert public_holidays("DE", region)(date(2027, 1, 6))


@pytest.mark.parametrize(("country", "region"), [("DE", "Atlantis"), ("DE", None), ("DE", " ")])
def test_an_unknown_region_has_the_holidays_of_its_country(
    country: str, region: str | None
) -> None:
    assert not public_holidays(country, region)(date(2027, 1, 6))
    assert public_holidays(country, region)(date(2027, 1, 1))


# --- what is always true --------------------------------------------------------------------

FIRST, LAST = datetime(2025, 1, 1), datetime(2028, 12, 31)  # noqa: DTZ001 # hypothesis adds it
MOMENTS = st.datetimes(FIRST, LAST, timezones=st.just(UTC))
MINUTES = st.integers(0, 24 * 60 - 1)
HOURS = st.tuples(MINUTES, st.integers(1, 24 * 60)).filter(lambda pair: pair[0] < pair[1])
DAYS = st.frozensets(st.integers(0, 6), min_size=1)


@st.composite
def calendars(draw: st.DrawFn) -> Calendar:
    country = draw(st.sampled_from(["FR", "US", "IN", "EG", "DE"]))
    closed = frozenset(draw(st.lists(st.dates(date(2025, 1, 1), date(2028, 12, 31)), max_size=30)))
    return a_calendar(
        draw(st.none() | st.dictionaries(st.integers(0, 6), HOURS, min_size=1)),
        zone=draw(st.sampled_from(ZONES)),
        cutoff=draw(st.none() | MINUTES),
        handling=draw(st.integers(0, 3 * 24 * 60)),
        closed=closed,
        country=country,
    )


@st.composite
def services(draw: st.DrawFn) -> Service:
    fewest = draw(st.integers(0, 5))
    return Service(
        "any",
        transit=(fewest, fewest + draw(st.integers(0, 5))),
        picks_up_on=draw(DAYS),
        delivers_on=draw(DAYS),
        deliver_until=draw(st.integers(0, 24 * 60)),
    )


DESTINATIONS = st.builds(
    Destination, st.sampled_from(ZONES), st.sampled_from([public_holidays(c) for c in ("FR", "JP")])
)


def _count(
    at: datetime, calendar: Calendar, service: Service | None, to: Destination
) -> Promise | None:
    return collected(at, calendar) if service is None else delivered(at, calendar, service, to)


@settings(max_examples=100)
@given(MOMENTS, calendars(), st.none() | services(), DESTINATIONS)
def test_nothing_is_promised_for_a_closed_day(
    at: datetime, calendar: Calendar, service: Service | None, to: Destination
) -> None:
    promise = _count(at, calendar, service, to)
    if promise is None:
        return
    moments = {milestone.kind: milestone.at for milestone in promise.milestones}
    worked = moments["ready_by" if service is None else "hand_over_by"]

    assert _is_open(worked, calendar)
    assert at <= moments["release_by"] <= worked <= promise.by
    assert promise.earliest <= promise.by
    if service is not None:
        day = (promise.by - timedelta(microseconds=1)).astimezone(to.zone).date()
        days = {day, promise.by.astimezone(to.zone).date()}
        assert any(d.weekday() in service.delivers_on and not to.is_holiday(d) for d in days)
        assert any(
            window is not None and window.closes == worked and d.weekday() in service.picks_up_on
            for d in _around(worked, calendar)
            for window in [calendar.window(d)]
        )


def _around(at: datetime, calendar: Calendar) -> Iterator[date]:
    day = at.astimezone(calendar.zone).date()
    yield from (day - timedelta(days=1), day)


def _is_open(at: datetime, calendar: Calendar) -> bool:
    windows = [calendar.window(day) for day in _around(at, calendar)]
    return any(window is not None and window.opens <= at <= window.closes for window in windows)


@settings(max_examples=100)
@given(
    MOMENTS,
    st.timedeltas(timedelta(0), timedelta(days=9)),
    calendars(),
    st.none() | services(),
    DESTINATIONS,
)
def test_who_asks_later_is_never_promised_more(
    at: datetime, later: timedelta, calendar: Calendar, service: Service | None, to: Destination
) -> None:
    now = _count(at, calendar, service, to)
    then = _count(at + later, calendar, service, to)

    if now is not None and then is not None:
        assert now.by <= then.by
        assert now.earliest <= then.earliest


@settings(max_examples=100)
@given(MOMENTS, calendars(), st.none() | services(), DESTINATIONS)
def test_what_is_released_at_the_last_moment_keeps_its_promise(
    at: datetime, calendar: Calendar, service: Service | None, to: Destination
) -> None:
    promise = _count(at, calendar, service, to)
    if promise is None:
        return

    again = _count(promise.milestones[0].at, calendar, service, to)

    assert again is not None
    assert again.by == promise.by


@contextmanager
def _process_in(zone: str) -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = zone
    clock.tzset()
    try:
        yield
    finally:
        del os.environ["TZ"]
        if before is not None:
            os.environ["TZ"] = before
        clock.tzset()


@settings(max_examples=40)
@given(MOMENTS, calendars(), services(), DESTINATIONS)
def test_the_time_zone_of_the_process_changes_nothing(
    at: datetime, calendar: Calendar, service: Service, to: Destination
) -> None:
    answers = []
    for zone in ("UTC", "Pacific/Kiritimati", "America/Los_Angeles"):
        with _process_in(zone):
            answers.append(_count(at.astimezone(NEW_YORK), calendar, service, to))

    assert answers[0] == answers[1] == answers[2]


# --- a whole order --------------------------------------------------------------------------


def terms(
    *, method: str = "home", services: tuple[Service, ...] = (POST,), **calendar: object
) -> Terms:
    places = {
        "paris": Place("paris", "warehouse", frozenset({"fr"}), a_calendar(), "EUR"),
        "tokyo": Place(
            "tokyo",
            "store",
            frozenset(),
            a_calendar(zone=ZoneInfo("Asia/Tokyo"), country="JP"),
            None,
        ),
        "silent": Place("silent", "store", frozenset(), a_calendar(None, cutoff=None), None),
    }
    return Terms(method, places, services, FRANCE, timedelta(minutes=15), 3)


NOW = paris(2026, 11, 23, 11)


def test_the_latest_parcel_counts() -> None:
    one = terms().promise_all(NOW, [Units("paris")])
    both = terms().promise_all(NOW, [Units("paris"), Units("paris", paris(2026, 12, 1, 9))])

    assert one is not None
    assert both is not None
    assert one.by == paris(2026, 11, 25, 18)
    assert both.by == paris(2026, 12, 3, 18)
    assert [m.kind for m in both.milestones] == ["release_by", "hand_over_by", "deliver_by"]


def test_where_no_service_is_known_and_no_hours_the_days_of_the_settings_count() -> None:
    promise = terms(services=()).promise_all(NOW, [Units("silent")])

    assert promise is not None
    assert promise.by == NOW + timedelta(days=3)
    assert promise.milestones == (Milestone(kind="deliver_by", at=promise.by),)


def test_where_only_the_hours_are_known_the_days_of_the_settings_are_on_the_road() -> None:
    promise = terms(services=()).promise_all(NOW, [Units("paris")])

    assert promise is not None
    assert promise.by == paris(2026, 11, 26, 18)


def test_a_parcel_goes_by_the_cheapest_service_that_fetches_from_its_place() -> None:
    dear = Service("dear", transit=(0, 0), cost_minor=990, currency="EUR")
    cheap = Service(
        "cheap", transit=(1, 3), cost_minor=490, currency="EUR", from_groups=frozenset({"fr"})
    )

    several = terms(services=(dear, cheap))

    assert several.service_for(several.places["paris"]) == cheap
    assert several.service_for(several.places["tokyo"]) == dear
    assert several.cost(["paris"]) == (490, "EUR")
    assert several.cost(["paris", "tokyo"]) == (990, "EUR")
    assert terms(method="store_pickup", services=(dear,)).cost(["paris"]) == (0, "EUR")


# --- kept or not ----------------------------------------------------------------------------

PROMISE = terms().promise_all(NOW, [Units("paris")])
assert PROMISE is not None


def look(
    now: datetime, *parts: Part, before: Standing = "kept", by: datetime | None = PROMISE.by
) -> tuple[Standing, datetime | None]:
    assert PROMISE is not None
    return outlook(
        by=by, milestones=PROMISE.milestones, before=before, parts=parts, terms=terms(), now=now
    )


LATER = paris(2026, 11, 23, 17)
NEXT_DAY = paris(2026, 11, 24, 9)


@pytest.mark.parametrize(
    ("now", "stage", "since", "standing"),
    [
        pytest.param(NOW, "allocated", None, "kept", id="just confirmed"),
        pytest.param(LATER, "allocated", None, "at_risk", id="not released by the cut-off"),
        pytest.param(LATER, "released", NOW, "kept", id="released in time"),
        pytest.param(
            NEXT_DAY, "released", NOW, "at_risk", id="not handed over as the place closed"
        ),
        pytest.param(NEXT_DAY, "handed_over", LATER, "kept", id="handed over in time"),
        pytest.param(NEXT_DAY, "handed_over", NEXT_DAY, "at_risk", id="handed over a day late"),
        pytest.param(
            paris(2026, 11, 25, 18, 1), "handed_over", LATER, "missed", id="not delivered"
        ),
        pytest.param(
            paris(2026, 11, 30, 9), "done", paris(2026, 11, 25, 17), "kept", id="delivered"
        ),
        pytest.param(
            paris(2026, 11, 30, 9), "done", paris(2026, 11, 25, 19), "missed", id="delivered late"
        ),
        pytest.param(NOW, "waiting", paris(2026, 12, 1, 9), "at_risk", id="goods come later"),
        pytest.param(NOW, "waiting", None, "at_risk", id="nobody knows when goods come"),
    ],
)
def test_what_will_be_missed_is_seen_before(
    now: datetime, stage: Stage, since: datetime | None, standing: Standing
) -> None:
    assert look(now, Part(stage, "paris", since))[0] == standing


def test_what_was_missed_stays_missed_and_what_was_in_danger_may_recover() -> None:
    on_time = Part("handed_over", "paris", paris(2026, 11, 23, 19))

    assert look(NEXT_DAY, on_time, before="missed")[0] == "missed"
    assert look(NEXT_DAY, on_time, before="at_risk") == ("kept", PROMISE.by if PROMISE else None)


def test_what_was_told_no_date_misses_none() -> None:
    standing, expected = look(NEXT_DAY, Part("waiting", "paris", paris(2026, 12, 1, 9)), by=None)

    assert standing == "kept"
    assert expected == paris(2026, 12, 3, 18)


def test_a_parcel_that_is_late_is_expected_on_the_next_day_of_the_carrier() -> None:
    _, expected = look(paris(2026, 11, 28, 19), Part("handed_over", "paris", LATER))

    assert expected == paris(2026, 11, 30, 18)
