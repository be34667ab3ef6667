"""What workflow files import is not loaded anew for each run; a file that would is refused."""

import pytest
from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import UnintentionalPassthroughError

from tests.workflows.forgetful import ForgetfulWorkflow
from workers.sandbox import workflow_runner
from workers.serving import WORKFLOWS


@pytest.mark.parametrize("kind", WORKFLOWS)
async def test_a_workflow_passes_its_imports_through(kind: type) -> None:
    definition = workflow._Definition.must_from_class(kind)

    workflow_runner().prepare_workflow(definition)


async def test_a_workflow_that_forgets_to_is_refused_by_its_name(temporal: Client) -> None:
    with pytest.raises(RuntimeError) as refused:
        Worker(
            temporal,
            task_queue="never-polled",
            workflows=[ForgetfulWorkflow],
            workflow_runner=workflow_runner(),
        )

    assert isinstance(refused.value.__cause__, UnintentionalPassthroughError)
    assert "oms" in str(refused.value.__cause__)
