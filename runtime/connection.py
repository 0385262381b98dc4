"""The connection of every process to Temporal: its address, the payload converter, the SDK's logs and metrics."""

import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

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
from temporalio.service import GrpcCompression, RPCError, RPCStatusCode, TLSConfig

from contracts.identity import TemporalIdentity
from runtime import logs
from runtime.announcing import announcing
from runtime.encryption import EncryptedFailures, EncryptionCodec, Sealed, SealedFailures
from runtime.settings import Settings, SettingsError
from runtime.tracing import tracing
from temporal_saga.outcome import first_line

DEFAULT_ADDRESS = "localhost:7233"
_ADDRESS = re.compile(r"(\[[^\s/@\[\]]+\]|[^\s:/@\[\]]+):[0-9]{1,5}")
_LAST_PORT = 65535
_SWITCHES = ("TEMPORAL_TLS", "TEMPORAL_TLS_DISABLE_HOST_VERIFICATION")
_ANSWERED = "after connection"
"""Part of the SDK's message about a server that answered and refused the connection."""
_IN_WORDS = {
    "tcp connect error": "nothing listens there",
    "dns error": "no such host is known",
    "InvalidContentType": "it does not speak TLS, which TEMPORAL_TLS or TEMPORAL_API_KEY asks for",
}
"""Parts of the SDK's messages about a server that cannot be reached, and what they mean."""
CLOSED_FROM_OUTSIDE = (
    WorkflowExecutionStatus.TERMINATED,
    WorkflowExecutionStatus.TIMED_OUT,
    WorkflowExecutionStatus.CANCELED,
)
"""The ways of closing that none of our workflows ends with by itself."""


class Unreachable(Exception):
    """Temporal does not answer. The message says at which address, and what to do."""


class _PydanticOrSealed(CompositePayloadConverter):
    """Pydantic's converter, and `Sealed` for encrypted payloads.

    The SDK makes a new one for each workflow, each workflow task and each call. All share the converters, which are
    slow to make and cache pydantic's type adapters.
    """

    converters = CompositePayloadConverter(*PydanticPayloadConverter().converters.values(), Sealed()).converters

    def __init__(self) -> None:
        """Does without that of the base, which would set `converters`."""


def data_converter(settings: Settings) -> DataConverter:
    """Converter to JSON by pydantic; it encrypts payloads and failures if the settings have a key."""
    if settings.payload_key is None:
        return DataConverter(payload_converter_class=_PydanticOrSealed, failure_converter_class=SealedFailures)
    codec = EncryptionCodec(settings.payload_key)
    return DataConverter(_PydanticOrSealed, payload_codec=codec, failure_converter_class=EncryptedFailures)


def make_runtime(settings: Settings, *, with_metrics: bool) -> Runtime:
    """The SDK's core, which logs into our log and exports metrics as the settings say. Raises `SettingsError`."""
    forwarding = LogForwardingConfig(logger=logs.CORE)
    metrics: PrometheusConfig | OpenTelemetryConfig | None = None
    if with_metrics and settings.metrics_port is not None:
        host = f"[{settings.metrics_address}]" if ":" in settings.metrics_address else settings.metrics_address
        metrics = PrometheusConfig(bind_address=f"{host}:{settings.metrics_port}")
    elif with_metrics and settings.otel_exporter_otlp_endpoint is not None:
        metrics = OpenTelemetryConfig(url=settings.otel_exporter_otlp_endpoint)
    logging_config = LoggingConfig(TelemetryFilter(core_level="WARN", other_level="ERROR"), forwarding=forwarding)
    try:
        return Runtime(telemetry=TelemetryConfig(logging=logging_config, metrics=metrics))
    except (RuntimeError, ValueError) as error:
        remedy = "each worker of a host needs a METRICS_PORT of its own"
        message = f"METRICS_ADDRESS, METRICS_PORT or OTEL_EXPORTER_OTLP_ENDPOINT: {error}; {remedy}"
        raise SettingsError(message) from error


def _is_loopback(address: str) -> bool:
    """Whether the server is on this host: there compression costs CPU on both sides and saves nothing."""
    return address.rpartition(":")[0] in ("localhost", "127.0.0.1", "[::1]")


async def connect(settings: Settings, *, address: str | None = None) -> Client:
    """A client for a command, whose namespace exists. A server that is too busy causes an `RPCError` after 10 s."""
    client = await open_client(settings, address=address)
    await require_namespace(client)
    return client


async def open_client(settings: Settings, *, address: str | None = None, with_metrics: bool = False) -> Client:
    """A client for the Temporal of `TEMPORAL_*` and `temporal.toml`, or for an embedded one at `address`.

    `with_metrics` is for processes that keep running: a command would find the port taken by a worker on its host.

    Raises `Unreachable` and `SettingsError`.
    """
    chosen = ClientConnectConfig(target_host=address) if address else profile()
    where = chosen["target_host"]
    core = make_runtime(settings, with_metrics=with_metrics)
    try:
        return await Client.connect(
            **chosen,
            data_converter=data_converter(settings),
            runtime=core,
            interceptors=[*tracing(settings), *announcing(settings)],
            grpc_compression=GrpcCompression.NONE if _is_loopback(where) else GrpcCompression.GZIP,
        )
    except (RuntimeError, ValueError) as error:
        reason = first_line(error)
        if "ParseError" in reason:
            raise SettingsError("TEMPORAL_TLS_*: its certificate or private key is not in PEM") from error
        if _ANSWERED in reason:
            raise Unreachable(f"Temporal at {where}: {reason}; see TEMPORAL_API_KEY and TEMPORAL_TLS_*") from error
        reason = next((told for said, told in _IN_WORDS.items() if said in reason), reason)
        remedy = "start one with `make up`, or set TEMPORAL_ADDRESS"
        raise Unreachable(f"no Temporal server at {where}: {reason}; {remedy}") from error


def profile(environment: Mapping[str, str] = os.environ) -> ClientConnectConfig:
    """How to connect, by `TEMPORAL_*` and `temporal.toml`. Raises `SettingsError`.

    The SDK takes more for an answer than it should: an empty variable for a value, any word but `false` and `0` for
    true, a file that is missing for an empty one.
    """
    given = {name: value for name, value in environment.items() if value or not name.startswith("TEMPORAL_")}
    for name in _SWITCHES:
        if given.get(name, "false").lower() not in ("true", "false", "1", "0"):
            raise SettingsError(f"{name}: must be true or false")
    file = given.get("TEMPORAL_CONFIG_FILE")
    if file is not None and not Path(file).exists():
        raise SettingsError(f"TEMPORAL_CONFIG_FILE: No such file or directory: {file}")
    where = f"TEMPORAL_CONFIG_FILE {file}" if file else "temporal.toml"
    try:
        loaded = ClientConfig.load_client_connect_config(override_env_vars=given)
    except OSError as error:
        by = (name for name, value in given.items() if name.startswith("TEMPORAL_") and value == error.filename)
        raise SettingsError(f"{next(by, where)}: {error.strerror}: {error.filename}") from error
    except (RuntimeError, ValueError) as error:
        reason = first_line(error)
        by_profile = reason.startswith("Profile") and "TEMPORAL_PROFILE" in given
        raise SettingsError(f"{'TEMPORAL_PROFILE' if by_profile else where}: {reason}") from error
    address = loaded.setdefault("target_host", DEFAULT_ADDRESS)
    if not _ADDRESS.fullmatch(address) or int(address.rpartition(":")[2]) > _LAST_PORT:
        name = "TEMPORAL_ADDRESS" if "TEMPORAL_ADDRESS" in given else f"{where}: address"
        raise SettingsError(f"{name}: must be HOST:PORT, such as {DEFAULT_ADDRESS}")
    if isinstance(tls := loaded.get("tls"), TLSConfig):
        _require_whole_identity(tls)
    return loaded


def _require_whole_identity(tls: TLSConfig) -> None:
    if bool(tls.client_cert) != bool(tls.client_private_key):
        missing = "KEY" if tls.client_cert else "CERT"
        raise SettingsError(
            f"TEMPORAL_TLS_CLIENT_{missing}_PATH: must be set too; a client has both a certificate and its key"
        )


async def require_namespace(client: Client) -> None:
    """Raise `SettingsError` if the server does not have the client's namespace."""
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
    """The identity of this Temporal; `None` if the client has no permission to read it."""
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
    """Whether the namespace has any workflow of these types, as far back as its retention reaches."""
    types = ", ".join(f"'{name}'" for name in workflow_types)
    return (await client.count_workflows(f"WorkflowType IN ({types})")).count > 0
