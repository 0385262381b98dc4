"""The workflow of the floor. It takes the order, as every other does, and is done."""

from __future__ import annotations

from typing import Any

from temporalio import workflow


@workflow.defn
class Nothing:
    @workflow.run
    async def run(self, document: dict[str, Any]) -> str:  # noqa: ARG002 — it does nothing with it
        return "DONE"
