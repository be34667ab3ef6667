"""Runs of yesterday go on under the code of today."""

import json
from pathlib import Path

import pytest
from temporalio import workflow
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from tests.histories.recording import BACK, FOLDER, IN_GRACE, ROUTED, names_this_machine
from workers.sandbox import workflow_runner
from workers.serving import WORKFLOWS
from workers.temporal import data_converter
from workflows import steps

RECORDS = sorted(FOLDER.glob("*.json"))
EARLIER = sorted(FOLDER.glob("*/*.json"))
"""Runs of code that went before; each folder says by its name what they did otherwise."""


async def replay(record: Path) -> None:
    told = json.loads(record.read_text())
    replayer = Replayer(
        workflows=WORKFLOWS,
        workflow_runner=workflow_runner(),
        data_converter=data_converter(),
    )
    await replayer.replay_workflow(WorkflowHistory.from_json(told["workflow_id"], told["history"]))


def _name(record: Path) -> str:
    return str(record.relative_to(FOLDER).with_suffix(""))


@pytest.mark.parametrize("record", [*RECORDS, *EARLIER], ids=_name)
async def test_a_recorded_run_goes_on_as_it_began(record: Path) -> None:
    await replay(record)


def test_every_kind_of_end_and_of_wait_is_recorded_and_tells_no_machine() -> None:
    recorded = {record.name.split(".")[0] for record in RECORDS}

    assert recorded == {scenario.__name__ for scenario in (*IN_GRACE, *ROUTED, *BACK)}
    assert not [record.name for record in RECORDS if names_this_machine(record.read_text())]


async def test_a_change_that_forgets_a_step_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps.Process, "_upsert", lambda *_: None)

    with pytest.raises(workflow.NondeterminismError):
        await replay(FOLDER / "delivered.order.json")


async def test_a_change_that_makes_a_call_otherwise_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(steps, "outside", steps.in_books)

    with pytest.raises(workflow.NondeterminismError):
        await replay(FOLDER / "offered.F1.json")


@pytest.mark.parametrize(
    ("what", "most"), [("came_back_by_post", 44), ("came_back_at_the_till", 24)]
)
def test_a_return_costs_few_events(what: str, most: int) -> None:
    """History is paid for by the event; see `docs/performance.md`."""
    told = json.loads((FOLDER / f"{what}.R1.json").read_text())

    assert len(told["history"]["events"]) <= most
