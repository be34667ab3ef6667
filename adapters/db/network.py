"""What routing rests on, kept in the process: locations, the active rules, who serves whom.

The books carry a stamp that changes with any of it. Whoever plans reads stock and stamp in one
statement, and what is kept counts only under that very stamp. So a place is never used after its
closing was committed, and a plan reads no locations.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import structlog
from numpy.typing import NDArray
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.pool import Pool

from adapters.db.at_once import Statement, at_once
from adapters.db.availability import BUFFER, SHUT
from adapters.db.promises import PLACE, SERVICES, place_of
from oms.locations import Flags, Ints, Location, Locations
from oms.promises import Place
from oms.router import Router
from oms.rules import RuleSet

STAMP = "(SELECT CAST(stamp AS text) FROM master_stamp)"
"""Of what is kept here; another one after any change."""

_KEPT = 500
"""So many (channel, method) are kept at most, and so many destinations."""

_READ = f"""
SELECT {STAMP} AS stamp, {SERVICES} AS services,
    (SELECT json_build_array(r.id, r.version, r.document) FROM rule_sets r WHERE r.active) AS rules,
    (SELECT coalesce(json_agg(json_build_object('place', {PLACE}, 'row', json_build_array(
        l.id, l.name, l.kind, l.country, l.groups, l.latitude, l.longitude, l.handling_minor,
        l.currency, l.daily_capacity))), '[]') FROM locations l) AS locations
"""

_SERVING = f"""
SELECT {STAMP} AS stamp,
    (SELECT coalesce(json_agg(json_build_array(l.id, {SHUT}, {BUFFER})), '[]')
        FROM locations l) AS places
"""

log = structlog.get_logger()


_K = TypeVar("_K")
_V = TypeVar("_V")


class Kept(OrderedDict[_K, _V]):
    """Forgets what was kept first when it is full."""

    def keep(self, key: _K, value: _V) -> _V:
        """Keep something."""
        self[key] = value
        while len(self) > _KEPT:
            self.popitem(last=False)
        return value


@dataclass(frozen=True, eq=False)
class Serving:
    """Who serves a channel by a method. Rows: locations.

    `shut`: why one does not (`oms.reasons.Code`), empty if it does. `buffer`: units of each
    article that the channel leaves there.
    """

    shut: NDArray[np.str_]
    buffer: Ints


@dataclass(frozen=True, eq=False)
class Network:
    """What was read under one stamp. `places` and `services`: as promises read them."""

    stamp: str
    router: Router
    places: Mapping[str, Mapping[str, Any]]
    services: Sequence[Mapping[str, Any]]
    serving: Kept[tuple[str, str], Serving] = field(default_factory=Kept)
    carriers: Kept[tuple[str, str], dict[str, Flags]] = field(default_factory=Kept)
    days: Kept[tuple[Any, ...], dict[str, int]] = field(default_factory=Kept)
    _calendars: dict[str, Place] = field(default_factory=dict)

    def place(self, id: str) -> Place:
        """A place as promises count from it."""
        if id not in self._calendars:
            self._calendars[id] = place_of(self.places[id])
        return self._calendars[id]

    @property
    def locations(self) -> Locations:
        """All of them, closed ones too."""
        return self.router.locations


_KNOWN: WeakKeyDictionary[Pool, Network] = WeakKeyDictionary()


def known_network(tx: AsyncConnection) -> Network | None:
    """What the process knows of this database; of what stamp, the caller has to ask."""
    return _KNOWN.get(tx.engine.pool)


async def read_network(tx: AsyncConnection) -> Network:
    """Read all of it, in one statement, and keep it for the process."""
    ((row,),) = await at_once(tx, [Statement(_READ, {})])
    locations = Locations(_location(each["row"]) for each in row.locations)
    places = {each["place"]["id"]: each["place"] for each in row.locations}
    network = Network(row.stamp, _router(locations, row.rules), places, row.services)
    _KNOWN[tx.engine.pool] = network
    return network


def _location(row: Sequence[Any]) -> Location:
    id, name, kind, country, groups, north, east, handling, currency, capacity = row
    return Location(
        id, name, kind, country, frozenset(groups), north, east, handling, currency, capacity
    )


def _router(locations: Locations, rules: Sequence[Any] | None) -> Router:
    """The router of the active rule set; the default one where none is active.

    A document from before rule sets were checked may be no rule set: then the default counts, and
    the log says so, as orders must not wait for it.
    """
    if rules is None:
        return Router(locations)
    id, version, document = rules
    try:
        return Router(locations, RuleSet.model_validate(document), id=id, version=version)
    except ValidationError as wrong:
        log.error("rule_set_unreadable", rule_set=id, version=version, errors=wrong.error_count())
        return Router(locations)


def ask_who_serves(channel: str, method: str) -> Statement:
    """Ask which places serve a channel by a method; `keep_serving` reads what it answers."""
    return Statement(_SERVING, {"channel": channel, "methods": [method]})


def keep_serving(network: Network, channel: str, method: str, row: Any) -> Serving | None:
    """Keep what was answered; None if it is of another stamp."""
    if row.stamp != network.stamp:
        return None
    rows = network.locations.row_of
    shut = np.zeros(len(rows), dtype="<U17")
    buffer = np.zeros(len(rows), dtype=np.int64)
    for id, why, leaves in row.places:
        shut[rows[id]], buffer[rows[id]] = why, leaves
    return network.serving.keep((channel, method), Serving(shut, buffer))
