"""An order from the channel to the doorstep."""

from tests.world import World


async def test_an_order_is_delivered_and_paid(world: World) -> None:
    await world.outside.hurries()

    order = await world.place(2)
    done = await world.until_status(order["number"], "completed")

    assert done["payment_status"] == "paid"
    assert done["payments"]["captured_minor"] == 2 * 1999 + 490
    assert done["lines"][0]["delivered"] == 2
    assert (await world.level("LAMP", "wh-lyon"))["on_hand"] == 8
