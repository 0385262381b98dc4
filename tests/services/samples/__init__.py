"""Sample requests of every operation, a module for each service, found through the catalogue of the contracts."""

from importlib import import_module
from importlib.util import find_spec

import pytest

from contracts.catalogue import SERVICES

from ..sample import Refused, Sample
from ..service_harness import Operations

__all__ = ["SAMPLES", "Refused", "Sample", "missing_sample", "refusal_of", "sample_of", "samples_of"]


def samples_of(service: str) -> tuple[Sample, ...]:
    """The samples of one service; none if it has no module here."""
    name = f"{__name__}.{service}"
    if find_spec(name) is None:
        return ()
    found: tuple[Sample, ...] = import_module(name).SAMPLES
    return found


SAMPLES: dict[str, Sample] = {
    sample.operation.name: sample for service in SERVICES for sample in samples_of(service.QUEUE)
}


def missing_sample(operation: Operations) -> str:
    """What to do about an operation without a sample: it needs one, or is no operation of its own."""
    service, name = operation.queue, operation.step
    for other in (sample.operation for sample in samples_of(service)):
        if other.request is operation.request and operation.acts_on is None:
            verb = other.name.partition(".")[2]
            relations = f"undoes={verb} if it undoes that, acts_on={verb} if it acts on that"
            return f"contracts/{service}.py: {name} takes the request of {other.name}: give it {relations}"
    return (
        f"tests/services/samples/{service}.py: {name} has no sample: add Sample({name}, request, other=another request "
        "under the same key) to SAMPLES, as shipping.py there has it"
    )


def sample_of(operation: Operations) -> Sample:
    """The sample of an operation, or of the one that it undoes.

    Skips the test if there is none: `test_every_operation_has_a_sample` fails for all tests that need it.
    """
    if operation.step not in SAMPLES:
        pytest.skip(missing_sample(operation))
    return SAMPLES[operation.step]


def refusal_of(operation: Operations) -> Refused:
    refused = sample_of(operation).refused
    assert refused is not None, f"the sample of {operation.step} says that it never refuses"
    return refused
