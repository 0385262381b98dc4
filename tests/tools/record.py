"""Record the histories that `tests/replay` replays: `make record`, after a change that is meant to change them.

The histories so far are overwritten. `make record KEEP=before-loyalty` moves them into a folder of that name first:
`tests/replay` goes on to replay them, as running workflows have begun like that.

The program plays every scene on an embedded server, asserts what each history shows, and writes the history without
the names and process ids of this machine.
"""

import argparse
import asyncio
import json
import logging
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from temporalio.client import WorkflowHistory

from cli import demo
from composition.serving import serving
from contracts.ids import order_workflow_id
from runtime import connection, logs
from runtime.embedded import embedded_server, free_port
from runtime.faults import FaultInterceptor, read_faults
from runtime.settings import LogFormat, Settings
from tests.replay import histories
from tests.replay.batch_scenes import BATCH_SCENES, check_batch, play_batch
from tests.replay.other_scenes import OTHER_SCENES, check_other, file_of
from tests.replay.scenes import SCENES, TROUBLES, play

_OURS = re.compile(r'File \\"[^"\\]*?/(?=(?:saga|contracts|workflows|activities|runtime|site-packages|python3\.\d+)/)')


async def record(kept_in: str | None) -> None:
    logs.configure(LogFormat.CONSOLE, level=logging.CRITICAL)
    faults = [*read_faults(demo.FAULTS), *(scene.fault for scene in (*TROUBLES, *BATCH_SCENES))]
    with tempfile.TemporaryDirectory(prefix="order-saga-record-") as folder:
        os.environ["DATABASE_URL"] = f"sqlite+aiosqlite:///{folder}/{{service}}.db"
        settings = Settings.read()
        async with embedded_server(port=free_port(), ui_port=free_port(), data=Path(folder)) as server:
            client = await connection.connect(settings, address=server.address)
            async with serving(client, settings, interceptors=[FaultInterceptor(faults)]):
                assert all(order.as_expected for order in await demo.play(client))
                await asyncio.gather(
                    *(play(client, scene, faults) for scene in TROUBLES),
                    *(play_batch(client, scene) for scene in BATCH_SCENES),
                    *(scene.play(client) for scene in OTHER_SCENES),
                )
                if kept_in is not None:
                    keep(kept_in)
                for scene in SCENES:
                    history = await client.get_workflow_handle(order_workflow_id(scene.order_id)).fetch_history()
                    histories.check(history, scene)
                    _write(scene.order_id, history)
                for batch in BATCH_SCENES:
                    history = await client.get_workflow_handle(batch.batch_id).fetch_history()
                    check_batch(history, batch)
                    _write(batch.name, history)
                for other in OTHER_SCENES:
                    for workflow, state in other.ends.items():
                        history = await client.get_workflow_handle(workflow).fetch_history()
                        check_other(history, state)
                        _write(file_of(workflow), history)


def keep(folder: str) -> None:
    """Move the histories so far into `folder`. Raises `FileExistsError` if it is there."""
    kept = histories.HISTORIES / folder
    kept.mkdir()
    for path in histories.HISTORIES.glob("*.json"):
        path.rename(kept / path.name)


def _write(name: str, history: WorkflowHistory) -> None:
    text = json.dumps(_without_machine(history.to_json_dict()), indent=1, sort_keys=True)
    (histories.HISTORIES / f"{name}.json").write_text(_OURS.sub('File \\\\"', text) + "\n")
    print(f"{name}: {len(history.events)} events")


def _without_machine(value: Any) -> Any:
    """Replace process ids and host names, which say nothing about a workflow."""
    if isinstance(value, dict):
        return {key: "recorded" if key == "identity" else _without_machine(inner) for key, inner in value.items()}
    return [_without_machine(inner) for inner in value] if isinstance(value, list) else value


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Record the histories that tests/replay replays.")
    parser.add_argument("--keep", metavar="FOLDER", help="move the histories so far into tests/histories/FOLDER")
    options = parser.parse_args()
    if options.keep is not None and (histories.HISTORIES / options.keep).exists():
        parser.error(f"tests/histories/{options.keep} is there already")
    asyncio.run(record(options.keep))
