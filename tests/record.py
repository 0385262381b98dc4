"""Records the histories that `tests/replay` replays: `make record`, after a change that is meant to change them.

It plays the demo's orders on an embedded server, asserts what each history contains, and writes it without anything of
this machine.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHistory

from cli.demo import FAULTS, SCENES, Scene, play
from contracts.order import transaction_id
from runtime import connection, logs
from runtime.embedded import embedded_server, free_port
from runtime.faults import FaultInterceptor, read_faults
from runtime.settings import LogFormat, Settings
from saga import State
from worker import serving

HISTORIES = Path(__file__).parent / "histories"
_OURS = re.compile(r'File \\"[^"\\]*?/(?=(?:saga|contracts|workflows|activities|runtime|site-packages|python3\.\d+)/)')
_ENDS = {
    State.CONFIRMED: EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED,
    State.ROLLED_BACK: EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED,
}


async def record() -> None:
    logs.configure(LogFormat.CONSOLE, level=40)
    with tempfile.TemporaryDirectory(prefix="order-saga-record-") as folder:
        os.environ["DATABASE_URL"] = f"sqlite+aiosqlite:///{folder}/{{service}}.db"
        settings = Settings.read()
        async with embedded_server(port=free_port(), ui_port=free_port(), data=Path(folder)) as server:
            client = await connection.connect(settings, address=server.address)
            async with serving(client, settings, interceptors=[FaultInterceptor(read_faults(FAULTS))]):
                assert all(order.as_expected for order in await play(client))
                for scene in SCENES:
                    history = await _checked(client, scene)
                    text = json.dumps(_without_machine(history.to_json_dict()), indent=1, sort_keys=True)
                    (HISTORIES / f"{scene.order_id}.json").write_text(_OURS.sub('File \\\\"', text) + "\n")
                    print(f"{scene.order_id}: {len(history.events)} events")


async def _checked(client: Client, scene: Scene) -> WorkflowHistory:
    history = await client.get_workflow_handle(transaction_id(scene.order_id)).fetch_history()
    last = history.events[-1]
    assert last.event_type == _ENDS[scene.state], scene
    failure = last.workflow_execution_failed_event_attributes.failure.application_failure_info
    assert failure.type == (scene.code or ""), scene
    return history


def _without_machine(value: Any) -> Any:
    """Process ids and host names say nothing about a workflow."""
    if isinstance(value, dict):
        return {key: "recorded" if key == "identity" else _without_machine(inner) for key, inner in value.items()}
    return [_without_machine(inner) for inner in value] if isinstance(value, list) else value


if __name__ == "__main__":
    HISTORIES.mkdir(exist_ok=True)
    asyncio.run(record())
