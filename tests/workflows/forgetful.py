"""A workflow as it must not be: its import is loaded anew for each run."""

from temporalio import workflow

from oms.agenda import Agenda


@workflow.defn
class ForgetfulWorkflow:
    @workflow.run
    async def run(self) -> str:
        return Agenda(stage="forgotten").stage
