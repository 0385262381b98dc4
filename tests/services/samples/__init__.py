"""Sample requests of every operation, a module for each service, found through the catalogue of the contracts."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

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
    """What to do about an operation without a sample."""
    service = operation.queue
    return (
        f"{operation.step} has no sample: add Sample({operation.step}, request, other=another request under the same "
        f"key) to SAMPLES in tests/services/samples/{service}.py, as tests/services/samples/shipping.py has it"
    )


def sample_of(operation: Operations) -> Sample:
    """The sample of an operation, or of the one that it undoes."""
    assert operation.step in SAMPLES, missing_sample(operation)
    return SAMPLES[operation.step]


def refusal_of(operation: Operations) -> Refused:
    refused = sample_of(operation).refused
    assert refused is not None, f"the sample of {operation.step} says that it never refuses"
    return refused
