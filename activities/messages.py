"""What activities are asked: numbers, keys and times. Never personal data."""

from datetime import datetime

from oms.book import Command
from oms.decisions import Parked
from oms.ports import Message


class AtOrder(Message):
    """An order, at the process's own time."""

    number: str
    at: datetime


class AtFulfillment(Message):
    """A fulfillment order, at the process's own time."""

    id: str
    at: datetime


class AtShipment(Message):
    """A parcel, on its way out or back, at the process's own time."""

    id: str
    at: datetime


class AtPayment(Message):
    """A payment by its key, at the process's own time."""

    key: str
    at: datetime


class AtReturn(Message):
    """A return, at the process's own time."""

    id: str
    at: datetime


class CommandAt(Message):
    """A command with its id; the same id is decided once."""

    number: str
    id: str
    command: Command
    at: datetime
    actor: str
    expected_version: int | None = None


class AtReroute(Message):
    """A reroute, at the process's own time. `last`: the look before found nothing left."""

    id: str
    at: datetime
    last: bool = False


class SteerAt(Message):
    """A word said to a reroute: `pause`, `resume` or `stop`."""

    id: str
    word: str
    at: datetime


class ParkAt(Message):
    """A step that waits for a person, in the workflow that waits."""

    number: str
    parked: Parked
    workflow_id: str
    at: datetime


class UnparkAt(Message):
    """A step that waits no longer."""

    number: str
    step: str
    at: datetime
