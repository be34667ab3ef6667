"""What goes wrong in a test's world, on its word: our own activities, calls to the outside."""

import re
from collections import defaultdict
from typing import Any, NamedTuple

from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor
from typing_extensions import override

FAST_TRIES = 4
"""So often is a step tried in quick succession; broken as often, it parks or waits."""

TROUBLES = (
    "error_before",
    "error_after",
    "timeout_before",
    "timeout_after",
    "drop_connection",
    "rate_limit",
    "slow",
)
"""What may befall a call to the outside without anybody saying no."""

_ORDER_NUMBER = re.compile(r"[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]")


class Break(NamedTuple):
    """One of our own activities fails so many times, `before` it begins or `after` its effect.

    `about`: only calls whose argument names this, e.g. `:capture:`.
    """

    activity: str
    when: str
    times: int = 1
    about: str = ""


class Faults(Interceptor):
    """Breaks our own activities on request: before they begin, or after they took effect."""

    def __init__(self) -> None:
        self.planned: dict[tuple[str, str], int] = defaultdict(int)
        self.one_each: list[Break] = []
        self.of_order: dict[str, Break] = {}
        self.left: dict[str, int] = {}

    def of(self, order: str) -> Break | None:
        """The order's own break; an order not seen before takes the next one."""
        if order not in self.of_order and self.one_each:
            self.of_order[order] = self.one_each.pop(0)
            self.left[order] = self.of_order[order].times
        return self.of_order.get(order)

    @override
    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _FaultyActivity(next, self)


class _FaultyActivity(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, faults: Faults) -> None:
        super().__init__(next)
        self._faults = faults

    @override
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        name, about = input.fn.__name__, str(input.args[0])
        self._strike(name, "before", about)
        result = await super().execute_activity(input)
        self._strike(name, "after", about)
        return result

    def _strike(self, name: str, when: str, about: str) -> None:
        if self._faults.planned[(name, when)] > 0:
            self._faults.planned[(name, when)] -= 1
            raise ApplicationError(f"{name} broke {when}", type="broken_on_request")
        number = _ORDER_NUMBER.search(about)
        mine = self._faults.of(number[0]) if number else None
        if number is None or mine is None or (mine.activity, mine.when) != (name, when):
            return
        if mine.about in about and self._faults.left[number[0]] > 0:
            self._faults.left[number[0]] -= 1
            raise ApplicationError(f"{name} broke {when}", type="broken_on_request")
