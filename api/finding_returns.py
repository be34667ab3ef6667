"""Finding a return for whoever may see it, and showing it as it is now."""

from adapters.db.credentials import Credential
from api.answers import Answer, answer
from api.auth import Database
from api.orders import read_order
from api.problems import not_found
from api.return_views import return_view
from oms.numbers import is_return_id, order_of
from oms.orders import Order
from oms.returns import Return


async def find_return(db: Database, id: str) -> tuple[Order, Return]:
    """Read a return and its order.

    Raises:
        Problem: `not_found`.
    """
    if not is_return_id(id):
        raise not_found()
    order = await read_order(db, order_of(id))
    found = next((each for each in order.returns if each.id == id), None)
    if found is None:
        raise not_found()
    return order, found


async def visible_return(db: Database, id: str, who: Credential) -> tuple[Order, Return]:
    """Read a return as one who may see it.

    Raises:
        Problem: `not_found`, also for another channel's, or what is expected and lies elsewhere.
    """
    order, back = await find_return(db, id)
    if who.role == "channel" and not who.reaches_channel(order.channel):
        raise not_found()
    if who.role == "node":
        places = {lot.location for lot in back.lots} | {back.location}
        if not any(place and who.reaches_location(place) for place in places):
            raise not_found()
    return order, back


async def shown_return(db: Database, id: str, status: int) -> Answer:
    """Answer with a return as it is now."""
    order, back = await find_return(db, id)
    return answer(
        return_view(order, back), status, version=back.version, location=f"/v1/returns/{id}"
    )
