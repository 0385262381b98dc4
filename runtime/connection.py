"""How every process talks to Temporal: where it is, how payloads are written, where the SDK's logs and metrics go."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, GetClusterInfoRequest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.contrib.pydantic import PydanticPayloadConverter
from temporalio.converter import CompositePayloadConverter, DataConverter
from temporalio.envconfig import ClientConfig, ClientConnectConfig
from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    OpenTelemetryConfig,
    PrometheusConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)
from temporalio.service import RPCError, RPCStatusCode

from contracts.identity import TemporalIdentity
from runtime import logs
from runtime.encryption import EncryptedFailures, EncryptionCodec, Sealed, SealedFailures
from runtime.settings import Settings, SettingsError
from runtime.tracing import tracing
from saga import SEARCH_ATTRIBUTES

DEFAULT_ADDRESS = "localhost:7233"
_ANSWERED = "after connection"
"""In the SDK's words for a server that is there and did not want us."""
CLOSED_FROM_OUTSIDE = (
    WorkflowExecutionStatus.TERMINATED,
    WorkflowExecutionStatus.TIMED_OUT,
    WorkflowExecutionStatus.CANCELED,
)
"""How no workflow of ours ends by itself."""


class Unreachable(Exception):
    """Temporal does not answer. The message says where it was looked for, and what to do."""


class _PydanticOrSealed(CompositePayloadConverter):
    """The SDK makes a new one for each workflow and each of its calls: they share what is slow to make, and the type
    adapters that pydantic's remembers."""

    _SHARED = (*PydanticPayloadConverter().converters.values(), Sealed())

    def __init__(self) -> None:
        super().__init__(*self._SHARED)


def data_converter(settings: Settings) -> DataConverter:
    """JSON by pydantic; encrypted if the settings hold a key, failures included."""
    if settings.payload_key is None:
        return DataConverter(payload_converter_class=_PydanticOrSealed, failure_converter_class=SealedFailures)
    codec = EncryptionCodec(settings.payload_key)
    return DataConverter(_PydanticOrSealed, payload_codec=codec, failure_converter_class=EncryptedFailures)


def make_runtime(settings: Settings, *, with_metrics: bool) -> Runtime:
    """The SDK's core, logging into our log, and exporting metrics where the settings say. Raises `SettingsError`."""
    forwarding = LogForwardingConfig(logger=logs.CORE)
    metrics: PrometheusConfig | OpenTelemetryConfig | None = None
    if with_metrics and settings.metrics_port is not None:
        metrics = PrometheusConfig(bind_address=f"0.0.0.0:{settings.metrics_port}")
    elif with_metrics and settings.otel_exporter_otlp_endpoint is not None:
        metrics = OpenTelemetryConfig(url=settings.otel_exporter_otlp_endpoint)
    logging_config = LoggingConfig(TelemetryFilter(core_level="WARN", other_level="ERROR"), forwarding=forwarding)
    try:
        return Runtime(telemetry=TelemetryConfig(logging=logging_config, metrics=metrics))
    except (RuntimeError, ValueError) as error:
        raise SettingsError(f"METRICS_PORT or OTEL_EXPORTER_OTLP_ENDPOINT: {error}") from error


async def connect(settings: Settings, *, address: str | None = None) -> Client:
    """As `open_client`, for a command: a server that is too busy to answer is a `RPCError` after ten seconds."""
    client = await open_client(settings, address=address)
    await require_namespace(client)
    return client


async def open_client(settings: Settings, *, address: str | None = None, with_metrics: bool = False) -> Client:
    """A client for the Temporal that `TEMPORAL_*` and `temporal.toml` name; or for our own at `address`, of which they
    know nothing.

    `with_metrics` is for processes that stay: a command would find the port taken by the worker beside it.

    Raises `Unreachable` and `SettingsError`.
    """
    profile = ClientConnectConfig(target_host=address) if address else _profile()
    where = profile["target_host"]
    core = make_runtime(settings, with_metrics=with_metrics)
    try:
        return await Client.connect(
            **profile, data_converter=data_converter(settings), runtime=core, interceptors=tracing(settings)
        )
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        if _ANSWERED in reason:
            raise Unreachable(f"Temporal at {where}: {reason}; see TEMPORAL_API_KEY and TEMPORAL_TLS_*") from error
        reason = "nothing listens there" if "tcp connect error" in reason else reason
        remedy = "start one with `make up`, or set TEMPORAL_ADDRESS"
        raise Unreachable(f"no Temporal server at {where}: {reason}; {remedy}") from error


def _profile() -> ClientConnectConfig:
    try:
        profile = ClientConfig.load_client_connect_config()
    except (RuntimeError, ValueError, OSError) as error:
        raise SettingsError(f"TEMPORAL_* or temporal.toml: {error}") from error
    profile.setdefault("target_host", DEFAULT_ADDRESS)
    return profile


async def require_namespace(client: Client) -> None:
    """Raises `SettingsError` if the server has no such namespace."""
    request = DescribeNamespaceRequest(namespace=client.namespace)
    try:
        await client.workflow_service.describe_namespace(request, retry=True)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            where = client.service_client.config.target_host
            raise SettingsError(f"TEMPORAL_NAMESPACE: there is no {client.namespace!r} at {where}") from error
        if error.status is not RPCStatusCode.PERMISSION_DENIED:
            raise


async def identity_of(client: Client) -> TemporalIdentity | None:
    """Which Temporal this is; `None` if this client may not know."""
    try:
        described = await client.workflow_service.describe_namespace(
            DescribeNamespaceRequest(namespace=client.namespace)
        )
        cluster = await client.workflow_service.get_cluster_info(GetClusterInfoRequest())
    except RPCError as error:
        if error.status is not RPCStatusCode.PERMISSION_DENIED:
            raise
        logging.getLogger(__name__).warning("databases are not compared with this namespace: %s", error.message)
        return None
    return TemporalIdentity(described.namespace_info.id, client.namespace, cluster.cluster_id)


async def knows(client: Client, workflow_types: Sequence[str]) -> bool:
    """Whether any workflow of these types was begun here, as far back as the namespace's retention reaches."""
    types = ", ".join(f"'{name}'" for name in workflow_types)
    return (await client.count_workflows(f"WorkflowType IN ({types})")).count > 0


async def register_search_attributes(client: Client) -> None:
    """Make sure the namespace knows what sagas publish. Does nothing where an administrator has done it."""
    types = {
        "Keyword": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
        "Datetime": IndexedValueType.INDEXED_VALUE_TYPE_DATETIME,
    }
    wanted = {key.name: types[key.indexed_value_type.name.title()] for key in SEARCH_ATTRIBUTES}
    request = AddSearchAttributesRequest(namespace=client.namespace, search_attributes=wanted)
    try:
        await client.operator_service.add_search_attributes(request)
    except RPCError as error:
        if error.status not in (RPCStatusCode.ALREADY_EXISTS, RPCStatusCode.PERMISSION_DENIED):
            raise
        logging.getLogger(__name__).debug("search attributes: %s", error.message)
