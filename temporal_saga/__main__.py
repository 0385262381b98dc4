"""The operator's command for any sagas: `python -m temporal_saga …`, at the Temporal that the environment names.

Exit codes: 0 done; 2 wrong usage or input; 3 Temporal cannot be reached; 4 the saga refuses, or cannot be asked.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

from temporalio.client import Client, WorkflowHandle, WorkflowQueryFailedError, WorkflowUpdateFailedError
from temporalio.envconfig import ClientConfig
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from temporal_saga.desk import Fix, Skip
from temporal_saga.outcome import first_line
from temporal_saga.visibility import SEARCH_ATTRIBUTES, missing_search_attributes, register_search_attributes
from temporal_saga.workflow import CancellableSagaWorkflow, SagaWorkflow

_USAGE, _UNREACHABLE, _REFUSED = 2, 3, 4
_NO_WORKER = (RPCStatusCode.FAILED_PRECONDITION, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED)
"""How a question ends that no worker answers: no poller is known, or the time is over."""
_QUERY_TIMEOUT = timedelta(seconds=5)
_AT_ONCE = 50
"""Sagas that are asked at a time."""
_PARKED = "SagaState = 'PARKED' AND ExecutionStatus = 'Running'"


class _Failed(Exception):
    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. An error is one line on stderr."""
    chosen = _parser().parse_args(arguments)
    try:
        asyncio.run(_run(chosen))
    except _Failed as failed:
        print(f"error: {failed}", file=sys.stderr)  # noqa: T201 — it is a command
        return failed.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m temporal_saga", description="Look at sagas, and repair parked calls.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("register", help="register the search attributes in the namespace")
    for name, words in (("status", "the transaction log of a saga"), ("cancel", "roll a saga back before its pivot")):
        command = commands.add_parser(name, help=words)
        command.add_argument("workflow")
    command.add_argument("--reason", required=True)
    desk = commands.add_parser("desk", help="parked calls").add_subparsers(dest="decision", required=True)
    desk.add_parser("list", help="all parked calls of the namespace")
    words_of = {
        "show": "a call, its requests and its decisions",
        "retry": "try a call again now",
        "skip": "leave a call undone: it was settled by other means",
        "fix": "try a call again now with another request",
    }
    for decision, words in words_of.items():
        command = desk.add_parser(decision, help=words)
        command.add_argument("workflow")
        command.add_argument("step")
        if decision in ("skip", "fix"):
            command.add_argument("--actor", required=True, help="who decides")
        if decision == "skip":
            command.add_argument("--reason", required=True)
        if decision == "fix":
            command.add_argument("--input", required=True, type=Path, help="a JSON file with the new request")
    return parser


async def _run(chosen: argparse.Namespace) -> None:
    client = await _connected()
    try:
        if chosen.command == "register":
            await _register(client)
        elif chosen.command == "desk" and chosen.decision == "list":
            await _list_parked(client)
        else:
            await _ask(client, chosen)
    except WorkflowUpdateFailedError as error:
        cause = error.cause
        raise _Failed(cause.message if isinstance(cause, ApplicationError) else str(cause), _REFUSED) from None
    except WorkflowQueryFailedError as error:
        raise _Failed(f"{chosen.workflow} is no saga with SagaWorkflow as its base: {error}", _REFUSED) from None
    except RPCError as error:
        code = _UNREACHABLE if error.status is RPCStatusCode.UNAVAILABLE else _REFUSED
        raise _Failed(f"{getattr(chosen, 'workflow', client.namespace)}: {_words(error)}", code) from None


def _words(error: RPCError) -> str:
    """What the server says, and what it means for a saga."""
    if error.status in _NO_WORKER:
        return f"no worker answers for it, so start one: {error.message}"
    if error.status is RPCStatusCode.NOT_FOUND and "completed" in error.message:
        return "the saga has ended, nothing is left to decide; `status` shows how"
    return error.message


async def _connected() -> Client:
    try:
        given = {name: value for name, value in os.environ.items() if value}  # an empty variable counts as absent
        profile = ClientConfig.load_client_connect_config(override_env_vars=given)
        profile.setdefault("target_host", "localhost:7233")
    except (RuntimeError, ValueError, OSError) as error:
        raise _Failed(f"TEMPORAL_* or temporal.toml: {error}", _USAGE) from None
    try:
        return await Client.connect(**profile)
    except (RuntimeError, ValueError) as error:
        reason = first_line(error)
        raise _Failed(
            f"no Temporal at {profile['target_host']}: {reason}; see TEMPORAL_ADDRESS", _UNREACHABLE
        ) from None


async def _register(client: Client) -> None:
    await register_search_attributes(client)
    missing = await missing_search_attributes(client)
    if missing:
        raise _Failed(f"{client.namespace} still lacks {', '.join(missing)}: an administrator must add them", _REFUSED)
    _print({"namespace": client.namespace, "registered": [key.name for key in SEARCH_ATTRIBUTES]})


async def _list_parked(client: Client) -> None:
    if missing := await missing_search_attributes(client):
        remedy = "`python -m temporal_saga register`, and start the workers again"
        raise _Failed(
            f"{client.namespace} lacks {', '.join(missing)}, so no parked call can be found: {remedy}", _REFUSED
        )
    runs = [run.id async for run in client.list_workflows(_PARKED)]
    found: list[dict[str, Any]] = []
    for start in range(0, len(runs), _AT_ONCE):
        answers = await asyncio.gather(*(_parked_calls(client, each) for each in runs[start : start + _AT_ONCE]))
        found += [call for calls in answers for call in calls]
    _print(found)


async def _parked_calls(client: Client, workflow_id: str) -> list[dict[str, Any]]:
    """The parked calls of one saga. One that cannot be asked is said, and does not hide the others."""
    try:
        calls = await client.get_workflow_handle(workflow_id).query(SagaWorkflow.parked, rpc_timeout=_QUERY_TIMEOUT)
    except RPCError as error:
        return [{"workflow": workflow_id, "silent": _words(error)}]
    except WorkflowQueryFailedError as error:
        return [{"workflow": workflow_id, "silent": f"no saga with SagaWorkflow as its base: {first_line(error)}"}]
    return [{"workflow": workflow_id, **dataclasses.asdict(call)} for call in calls]


async def _ask(client: Client, chosen: argparse.Namespace) -> None:
    handle = client.get_workflow_handle(chosen.workflow)
    if chosen.command == "status":
        _print(await handle.query(SagaWorkflow.transaction_log, rpc_timeout=_QUERY_TIMEOUT))
    elif chosen.command == "cancel":
        await handle.execute_update(CancellableSagaWorkflow.cancel_saga, chosen.reason)
        _print({"workflow": chosen.workflow, "accepted": "cancel"})
    elif chosen.decision == "show":
        record = await handle.query(SagaWorkflow.desk_record, chosen.step, rpc_timeout=_QUERY_TIMEOUT)
        if record is None:
            raise _Failed(f"{chosen.workflow}: {chosen.step} was never parked", _REFUSED)
        _print(record)
    else:
        await _decide(handle, chosen)
        _print({"workflow": chosen.workflow, "step": chosen.step, "accepted": chosen.decision})


async def _decide(handle: WorkflowHandle[Any, Any], chosen: argparse.Namespace) -> None:
    if chosen.decision == "retry":
        await handle.execute_update(SagaWorkflow.desk_retry, chosen.step)
    elif chosen.decision == "skip":
        await handle.execute_update(SagaWorkflow.desk_skip, args=[chosen.step, Skip(chosen.actor, chosen.reason)])
    else:
        request = Fix(chosen.actor, _read(chosen.input))
        await handle.execute_update(SagaWorkflow.desk_fix, args=[chosen.step, request])


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _Failed(f"--input {path}: {error}", _USAGE) from None


def _print(found: Any) -> None:
    """Print a JSON document with times as ISO 8601."""

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return dataclasses.asdict(value)
        return value.isoformat() if isinstance(value, datetime) else str(value)

    print(json.dumps(found, default=plain, indent=2))  # noqa: T201 — it is a command


def _leave(exit_code: int) -> NoReturn:
    """Leave without a shutdown of the interpreter: a process that used the SDK can crash in it (sdk-python #300)."""
    with contextlib.suppress(OSError):  # the reader of a pipe has gone
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(exit_code)


if __name__ == "__main__":
    _leave(main())
