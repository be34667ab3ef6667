"""What customers and locations do with goods that come back, through the API."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

Back = dict[str, Any]
Units = int | Mapping[int, int]
"""Units by line; a number alone is of the first line."""

PATIENCE = 90
"""Seconds until a test gives up waiting; only a test that fails ever waits so long."""


def lines_of(units: Units, **more: Any) -> list[dict[str, Any]]:
    """The lines of a request, each with what more is said of it."""
    by_line = {1: units} if isinstance(units, int) else units
    return [{"line": line, "quantity": count} | more for line, count in by_line.items()]


class Returning:
    """The part of the world that is about returns."""

    async def call(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """Call the API; see `tests.world.World`."""
        raise NotImplementedError

    async def ok(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """Call the API and give the body; see `tests.world.World`."""
        raise NotImplementedError

    async def try_return(self, number: str, units: Units = 1, **more: Any) -> Any:
        """Ask to send back; gives the answer, whatever it is."""
        who = more.pop("who", "channel")
        reason = more.pop("reason", "too_small")
        body = {
            "order": number,
            "via": "post",
            "lines": lines_of(units, reason=reason),
            "resolution": "refund",
        } | more
        return await self.call("POST", "/v1/returns", body, who=who)

    async def ask_return(self, number: str, units: Units = 1, **more: Any) -> Back:
        """Ask to send back; it must be taken."""
        answer = await self.try_return(number, units, **more)
        assert answer.status_code == 201, answer.text
        asked: Back = answer.json()
        return asked

    async def try_exchange(self, number: str, *lines: dict[str, Any], **more: Any) -> Any:
        """Ask for other goods instead; a line has one unit of the first, unless said otherwise."""
        usual = {"line": 1, "quantity": 1, "reason": "too_small"}
        wanted = [usual | line for line in lines or ({},)]
        return await self.try_return(number, lines=wanted, resolution="exchange", **more)

    async def exchange(self, number: str, *lines: dict[str, Any], **more: Any) -> Back:
        """Ask for other goods instead; it must be taken."""
        answer = await self.try_exchange(number, *lines, **more)
        assert answer.status_code == 201, answer.text
        asked: Back = answer.json()
        return asked

    async def try_claim(self, number: str, units: Units = 1, **more: Any) -> Any:
        """Claim for goods; gives the answer, whatever it is."""
        who = more.pop("who", "channel")
        lines = lines_of(units, reason=more.pop("reason", "lost"))
        body = {"order": number, "lines": lines, "resolution": "refund"} | more
        return await self.call("POST", "/v1/claims", body, who=who)

    async def claim(self, number: str, units: Units = 1, **more: Any) -> Back:
        """Claim for goods; it must be taken."""
        answer = await self.try_claim(number, units, **more)
        assert answer.status_code == 201, answer.text
        asked: Back = answer.json()
        return asked

    async def back(self, id: str) -> Back:
        """A return as it is shown now."""
        found: Back = await self.ok("GET", f"/v1/returns/{id}")
        return found

    async def receive(
        self,
        id: str,
        units: Units = 1,
        *,
        condition: str = "as_new",
        location: str = "wh-lyon",
        **more: Any,
    ) -> Back:
        """A location finds these units in a parcel."""
        lines = lines_of(units, condition=condition)
        body = {"location": location, "lines": lines}
        done: Back = await self.ok("POST", f"/v1/returns/{id}/receive", body, who="node", **more)
        return done

    async def inspect(
        self, id: str, units: Units = 1, *, accepted: bool = True, **more: Any
    ) -> Back:
        """A location looks at these units, and takes them or not."""
        body = {"lines": lines_of(units, accepted=accepted, **more)}
        done: Back = await self.ok("POST", f"/v1/returns/{id}/inspect", body, who="node")
        return done

    async def takes_back(self, id: str, units: Units = 1, **more: Any) -> Back:
        """A location finds these units and takes them."""
        await self.receive(id, units, **more)
        return await self.inspect(id, units)

    async def until_back(
        self, id: str, ready: Callable[[Back], bool], within: float = PATIENCE
    ) -> Back:
        """Wait until a return is as wanted; fail with what it waits for."""
        deadline = asyncio.get_running_loop().time() + within
        while asyncio.get_running_loop().time() < deadline:
            found = await self.back(id)
            if ready(found):
                return found
            await asyncio.sleep(0.1)
        waits = await self.ok("GET", f"/v1/returns/{id}/explain")
        raise AssertionError(f"not within {within} s: {await self.back(id)}\n{waits}")

    async def until_return(self, id: str, status: str, within: float = PATIENCE) -> Back:
        """Wait until a return has this status."""
        return await self.until_back(id, lambda back: back["status"] == status, within)

    async def until_return_parked(self, id: str, step: str) -> None:
        """Wait until a person is called to this step of a return."""
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while asyncio.get_running_loop().time() < deadline:
            waits = (await self.ok("GET", f"/v1/returns/{id}/explain"))["data"]
            if step in [wait["step"] for wait in waits]:
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"{id} did not park at {step}: {waits}")

    async def story_of(self, id: str) -> list[str]:
        """What happened to a return, by kind, oldest first."""
        told = await self.ok("GET", f"/v1/returns/{id}/timeline?limit=100")
        return [event["kind"] for event in told["data"]]
