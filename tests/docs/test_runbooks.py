"""Who is woken up finds a page that says what to do; every query on it can be pasted."""

import re
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.watched import ALERTS, ROOT, alert_names, alert_queries, dashboard_queries
from workers import watching

RUNBOOKS = (ROOT / "docs/runbooks.md").read_text(encoding="utf-8")
TESTS = (ROOT / "deploy/prometheus/alerts_test.yml").read_text()


def sections() -> dict[str, str]:
    """The runbooks by their names."""
    parts = re.split(r"^## (\w+)$", RUNBOOKS, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_every_alert_has_its_runbook_and_every_runbook_its_alert() -> None:
    assert list(sections()) == alert_names()
    assert len(alert_queries()) == len(alert_names())


@pytest.mark.parametrize("alert", alert_names())
def test_a_runbook_says_who_is_hurt_where_to_look_what_to_do_when_it_is_over_and_that_it_was_tried(
    alert: str,
) -> None:
    for part in ("**Who is hurt**", "**Look**", "**Do**", "**Over when**", "**Tried** on 20"):
        assert part in sections()[alert], part
    assert f"docs/runbooks.md#{alert.lower()}" in ALERTS.read_text()


@pytest.mark.parametrize("alert", alert_names())
def test_an_alert_wakes_somebody_up_as_its_runbook_says(alert: str) -> None:
    rule = ALERTS.read_text().partition(f"alert: {alert}\n")[2]
    severity = re.search(r"severity: (\w+)", rule)

    assert severity is not None
    assert f"**{severity[1].capitalize()}.**" in sections()[alert]


@pytest.mark.parametrize("alert", alert_names())
def test_every_alert_is_seen_to_fire_in_a_test_of_its_rule(alert: str) -> None:
    assert f'alertname="{alert}"' in TESTS


async def test_every_query_of_a_runbook_can_be_pasted(database_url: str) -> None:
    queries = re.findall(r"```sql\n(.*?);\n```", RUNBOOKS, re.DOTALL)
    engine = create_async_engine(database_url)
    async with engine.connect() as connection:
        for query in queries:
            await connection.execute(text(query))
    await engine.dispose()

    assert len(queries) > 5


def test_the_dashboard_asks_for_something_in_every_panel() -> None:
    assert len(dashboard_queries()) > 40
    assert all(query.strip() for query in dashboard_queries())


def test_what_is_told_again_is_younger_than_the_next_scrape() -> None:
    scrapes = re.search(r"scrape_interval: (\d+)s", (ALERTS.parent / "prometheus.yml").read_text())

    assert scrapes is not None
    assert timedelta(seconds=watching.FRESH) < timedelta(seconds=int(scrapes[1]))
