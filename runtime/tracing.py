"""OpenTelemetry: one trace for an order, across its workflows and the services."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from temporalio.client import Interceptor

from runtime.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_EXPORT_TIMEOUT_S = 2
"""Time for a collector to accept a batch of spans, also at the end of the process."""
_providers: list[TracerProvider] = []


def tracing(settings: Settings) -> list[Interceptor]:
    """The interceptors of a client and its workers; none if the settings name no collector."""
    endpoint = settings.otel_exporter_otlp_endpoint
    return [_interceptor(endpoint)] if endpoint is not None else []


def _interceptor(endpoint: str) -> Any:
    # Imported only if it is used: the import costs a fifth of a second.
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from temporalio.contrib.opentelemetry import TracingInterceptor  # noqa: PLC0415

    exporter = OTLPSpanExporter(endpoint, insecure=endpoint.startswith("http:"), timeout=_EXPORT_TIMEOUT_S)
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: "order-saga"}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    _providers.append(provider)
    return TracingInterceptor(provider.get_tracer("order-saga"))


def flush() -> None:
    """Send the remaining spans, for a process that ends without the interpreter's own shutdown."""
    for provider in _providers:
        provider.force_flush(_EXPORT_TIMEOUT_S * 1000)
