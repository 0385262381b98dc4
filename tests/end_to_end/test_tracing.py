"""One order is one trace, as a collector receives it over OTLP."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

from contracts.choreography import PARTICIPANTS

from .system import System

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("tracing")]
_SERVICES = ("order", "payment", "inventory", "shipping", "notification")


class Collector(TraceServiceServicer):
    """The names of the spans that arrived, by trace, and the traces by workflow id."""

    def __init__(self) -> None:
        self.spans: dict[bytes, set[str]] = defaultdict(set)
        self.traces: dict[str, set[bytes]] = defaultdict(set)

    def Export(self, request: ExportTraceServiceRequest, _: object) -> ExportTraceServiceResponse:  # noqa: N802 — its name
        for span in (s for r in request.resource_spans for scope in r.scope_spans for s in scope.spans):
            self.spans[span.trace_id].add(span.name)
            for attribute in span.attributes:
                if attribute.key == "temporalWorkflowID" and span.name.startswith("RunActivity:"):
                    self.traces[attribute.value.string_value].add(span.trace_id)
        return ExportTraceServiceResponse()


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    server = grpc.server(ThreadPoolExecutor(max_workers=2))
    collecting = Collector()
    add_TraceServiceServicer_to_server(collecting, server)  # type: ignore[no-untyped-call]  # generated code
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    yield collecting
    server.stop(grace=None).wait()


def test_an_order_is_one_trace_across_all_services(
    fresh_system: System, collector: Collector, order: Callable[..., dict[str, Any]]
) -> None:
    fresh_system.start()
    orchestrated, choreographed = order("orchestrated"), order("choreographed")
    assert fresh_system.place(orchestrated).code == 0
    assert fresh_system.place(choreographed, "--mode", "choreography").code == 0
    assert fresh_system.stop() == 0  # it sends the last of its spans

    [trace] = collector.traces[f"order/{orchestrated['order_id']}"]
    assert _ran(collector.spans[trace]) == set(_SERVICES)
    [trace] = {
        trace
        for service in PARTICIPANTS
        for trace in collector.traces[f"choreography/{choreographed['order_id']}/{service}"]
    }
    assert _ran(collector.spans[trace]) == set(_SERVICES)


def _ran(spans: set[str]) -> set[str]:
    """The services whose operations ran."""
    return {name.removeprefix("RunActivity:").partition(".")[0] for name in spans if name.startswith("RunActivity:")}
