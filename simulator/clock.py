import asyncio
from collections.abc import Callable


class Clock:
    """The simulator's own time: waits are counted in simulated seconds, divided by `speed`."""

    def __init__(self, speed: float = 1) -> None:
        self.speed = speed
        self._changed = asyncio.Event()

    def run_at(self, speed: float) -> None:
        """Change the speed, also of the waits that are running now."""
        self.speed = speed
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait(self, seconds: float) -> None:
        """Sleep for so many simulated seconds."""
        loop = asyncio.get_running_loop()
        left = seconds
        while left > 0:
            speed, started, changed = self.speed, loop.time(), self._changed
            try:
                async with asyncio.timeout(left / speed):
                    await changed.wait()
            except TimeoutError:
                return
            left -= (loop.time() - started) * speed


class Bells:
    """Lets one party wait for what another does with the same subject."""

    def __init__(self) -> None:
        self._bells: dict[str, asyncio.Event] = {}

    def ring(self, subject: str) -> None:
        """Make everybody who waits for this subject look again."""
        if bell := self._bells.pop(subject, None):
            bell.set()

    async def until(self, subject: str, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds, looking again at each ring."""
        while not condition():
            await self._bells.setdefault(subject, asyncio.Event()).wait()
