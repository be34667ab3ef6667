"""How a fault is written into a history: what it is and where, and never what it quotes."""

from temporalio.api.failure.v1 import Failure
from temporalio.converter import DefaultFailureConverter, PayloadConverter
from temporalio.exceptions import ApplicationError, FailureError
from typing_extensions import override

from oms.errors import OmsError, told


class DiscreetFailures(DefaultFailureConverter):
    """Lets only words of ours into a history; of any other fault its kind and place remain.

    The stack trace stays: it holds lines of code, not their values.
    """

    @override
    def to_failure(
        self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure
    ) -> None:
        """See base class."""
        if not isinstance(exception, FailureError):
            exception = _discreet(exception)
        super().to_failure(exception, payload_converter, failure)


class SealedFailures(DiscreetFailures):
    """The same, with message and stack trace where the codec seals them."""

    def __init__(self) -> None:
        super().__init__(encode_common_attributes=True)


def _discreet(fault: BaseException) -> ApplicationError:
    if isinstance(fault, OmsError):
        told_as = ApplicationError(str(fault), type=fault.code, non_retryable=not fault.retryable)
    else:
        told_as = ApplicationError(told(fault), type=type(fault).__name__)
    told_as.__traceback__ = fault.__traceback__
    told_as.__cause__ = fault.__cause__
    return told_as
