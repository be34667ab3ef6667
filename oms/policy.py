"""How long each wait may last, and what is promised: the merchant's numbers, passed in as data."""

from datetime import timedelta

from oms.ports import Message


class Policy(Message):
    """Durations of the process. `docs/settings.md` has the setting behind each."""

    grace: timedelta = timedelta(seconds=900)
    node_answer: timedelta = timedelta(seconds=3600)
    reservation: timedelta = timedelta(seconds=1800)
    pick: timedelta = timedelta(days=1)
    pickup: timedelta = timedelta(days=7)
    silent: timedelta = timedelta(days=1)
    promise_days_home: int = 3
    promise_days_pickup: int = 1
    offer: timedelta = timedelta(seconds=60)

    def promise_days(self, method: str) -> int:
        """The days promised where nothing better can be counted."""
        return self.promise_days_pickup if method == "store_pickup" else self.promise_days_home
