"""What the routes need from outside, handed in by `api.main` or by a test."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request
from temporalio.client import Client

from oms.places import PostalTable, postal_table
from oms.policy import Policy

TemporalClient = Callable[[], Awaitable[Client]]
"""Gives a client, connected or not: the API starts and works while Temporal is down."""


@dataclass(frozen=True)
class ApiSettings:
    """What a deployment decides.

    `webhook_secrets` are `whsec_…` by party (payments, carriers, nodes); a party without one is
    refused. `verdict_seconds`: how long a new order may take to be answered with its outcome.
    `request_seconds`: how long anything may take, above the longest wait of any route.
    """

    task_queue: str = "oms"
    webhook_secrets: Mapping[str, str] = field(default_factory=dict)
    postal_table: PostalTable = field(default_factory=postal_table)
    verdict_seconds: float = 5.0
    request_seconds: float = 25.0
    heal_seconds: float = 60
    payment_poll_seconds: float = 60
    policy: Policy = field(default_factory=Policy)


def _settings(request: Request) -> ApiSettings:
    settings: ApiSettings = request.app.state.settings
    return settings


def _temporal(request: Request) -> TemporalClient:
    client: TemporalClient = request.app.state.temporal
    return client


SettingsOfApi = Annotated[ApiSettings, Depends(_settings)]
Temporal = Annotated[TemporalClient, Depends(_temporal)]
