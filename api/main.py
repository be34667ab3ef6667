"""The HTTP API: the application, and the process that serves it (`python -m api.main`)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

import uvicorn
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.db.engine import connect
from api import (
    availability,
    backorders,
    channels,
    claims,
    closing,
    fulfillment_orders,
    health,
    inbound,
    incoming,
    locations,
    openapi,
    order_commands,
    order_routing,
    orders,
    problems,
    products,
    reroutes,
    return_actions,
    return_labels,
    return_lots,
    return_policy,
    return_quotes,
    return_reports,
    returns,
    routing,
    shipments,
    shipping_services,
    stock,
    stock_changes,
    stock_imports,
    transfers,
    unannounced,
)
from api.auth import KnownKeys
from api.counting import Counting
from api.deadline import Deadline
from api.temporal import Connection
from api.wiring import ApiSettings, TemporalClient
from oms.places import postal_table
from workers import logging, temporal, tracing
from workers.settings import Settings, policy_of, settings
from workers.watching import Watch, watched

ROUTERS = (
    orders.router,
    order_routing.router,
    order_commands.router,
    availability.router,
    fulfillment_orders.router,
    shipments.router,
    inbound.router,
    products.router,
    locations.router,
    shipping_services.router,
    channels.router,
    stock_changes.router,
    stock_imports.router,  # before what reads `imports` as an article
    incoming.router,
    backorders.router,
    closing.router,
    reroutes.router,
    returns.router,
    return_actions.router,
    return_lots.router,
    return_reports.router,
    claims.router,
    stock.router,
    transfers.router,
    return_labels.router,
    unannounced.router,
    routing.router,
    return_policy.router,
    return_quotes.router,
    health.router,
)

DESCRIPTION = """
Channels place orders and follow them, stores and warehouses work on them, operators repair them.

Send `Authorization: Bearer <api key>`, and an `Idempotency-Key` with everything that moves goods
or money. Errors are `application/problem+json` with a `code` that is never renamed.
"""


def create_app(
    settings: ApiSettings, engine: AsyncEngine, temporal_client: TemporalClient
) -> FastAPI:
    """Make the application. It closes nothing: whoever opened the engine does."""
    # The page of its documentation must open where no CDN is reached.
    app = FastAPIOffline(
        redoc_url=None,
        title="Order management",
        version=version("oms"),
        description=DESCRIPTION,
        redirect_slashes=False,
        # A span for each request where traces are on; its own metrics and logs would tell more
        # than we may.
        telemetry={"metrics": False, "logs": False, "operation_spans": False},
    )
    app.state.settings, app.state.engine, app.state.temporal = settings, engine, temporal_client
    app.state.known_keys = KnownKeys()
    app.add_middleware(Deadline, seconds=settings.request_seconds)
    app.add_middleware(Counting)
    for router in ROUTERS:
        app.include_router(router)
    problems.install(app)
    openapi.describe(app, ROUTERS)
    return app


def api_settings(config: Settings) -> ApiSettings:
    """Pick what the API needs from the settings of the product."""
    secrets = {
        "payments": config.webhook_secrets_payments,
        "carriers": config.webhook_secrets_carriers,
        "nodes": config.webhook_secrets_nodes,
    }
    return ApiSettings(
        task_queue=config.task_queue,
        webhook_secrets={
            party: secret.get_secret_value() for party, secret in secrets.items() if secret
        },
        postal_table=postal_table(config.postal_table),
        heal_seconds=config.heal_seconds,
        payment_poll_seconds=config.payment_poll_seconds,
        policy=policy_of(config),
    )


def main() -> None:
    """Serve until told to stop; requests at work are finished first."""
    config = settings()
    logging.configure(config.log_format)
    tracing.configure("oms-api")
    temporal.log_through_python(
        metrics_at=temporal.metrics_address(config.metrics_host, config.sdk_metrics_port)
    )
    engine = connect(config.database_url.get_secret_value())
    app = create_app(
        api_settings(config), engine, Connection(lambda: temporal.connect(lazy=True)).client
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with watched(config, Watch([], {})):
            yield
        await engine.dispose()

    app.router.lifespan_context = lifespan
    uvicorn.run(
        app,
        host=config.api_host,
        port=config.api_port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=15,
        # Longer than clients and proxies keep a connection that rests, mostly 60 s: who hangs up
        # first breaks a request that is on its way just then.
        timeout_keep_alive=75,
    )


if __name__ == "__main__":
    main()
