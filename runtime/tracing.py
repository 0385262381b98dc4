"""One trace for an order, across its workflows and the services: OpenTelemetry, as temporalio brings it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from temporalio.client import Interceptor

from runtime.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_EXPORT_TIMEOUT_S = 2
"""For a collector to take a batch of spans. Whoever leaves waits for it no longer than that either."""
_providers: list[TracerProvider] = []


def tracing(settings: Settings) -> list[Interceptor]:
    """For a client, and so for every worker that is made of it. Nothing where the settings name no collector."""
    endpoint = settings.otel_exporter_otlp_endpoint
    return [_interceptor(endpoint)] if endpoint is not None else []


def _interceptor(endpoint: str) -> Any:
    # Imported only where it is used: it would take every command a fifth of a second.
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
    """Send what has not been sent. For a process that leaves without the interpreter's own shutdown."""
    for provider in _providers:
        provider.force_flush(_EXPORT_TIMEOUT_S * 1000)
