"""What the books store, as the rest of the system reads it."""

from pydantic import ConfigDict

from oms.ports import Message


class Stored(Message):
    """A row of the books. Columns that no decision needs are left out here."""

    model_config = ConfigDict(frozen=True, extra="ignore")
