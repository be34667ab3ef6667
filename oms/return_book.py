"""Returns in the books, as their processes use them: one transaction a method, safe to repeat.

`at` is the process's own time, so that deadlines follow its clock.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from oms.agenda import Agenda
from oms.ports import LabelBought, LabelRequest, Scan


class ReturnBook(Protocol):
    """Goods that come back, in SQL. Each step gives what is due for the return then."""

    async def agenda(self, id: str, at: datetime) -> Agenda:
        """What is due for a return."""
        ...

    async def remind(self, id: str, at: datetime) -> Agenda:
        """Tell that the customer has sent nothing yet."""
        ...

    async def expire(self, id: str, at: datetime) -> Agenda:
        """Expect it no longer."""
        ...

    async def give_back(self, id: str, at: datetime) -> Agenda:
        """Decide the refund that is due."""
        ...

    async def put_away(self, id: str, at: datetime) -> Agenda:
        """Put what was accepted where it belongs."""
        ...

    async def let_exchange_go(self, id: str, at: datetime) -> Agenda:
        """The goods in exchange may leave."""
        ...

    async def cancel_exchange(self, id: str, at: datetime) -> Agenda:
        """The goods in exchange stay."""
        ...

    async def close(self, id: str, at: datetime) -> Agenda:
        """Nothing is left to do."""
        ...

    async def label_request(self, parcel: str) -> LabelRequest | None:
        """What the carrier needs for a parcel's label; None if it has one. Personal data."""
        ...

    async def label_bought(self, parcel: str, label: LabelBought, at: datetime) -> Agenda:
        """A parcel has its label."""
        ...

    async def tracking_number_of(self, parcel: str) -> str | None:
        """A parcel's tracking number."""
        ...

    async def scanned(self, parcel: str, scans: Sequence[Scan], at: datetime) -> Agenda:
        """What the carrier said when asked; perhaps nothing new."""
        ...
