"""Retires ended transactions: finds those that are old and that Temporal has forgotten, and removes them in batches.

The services are asked in this order, so that a run may be killed anywhere and another one brings it to the same end:

1. every service examines the batch: what holds something, or is young at any of them, stays;
2. Temporal is asked for each workflow that may know the transaction: what it knows stays;
3. every service refuses each operation of the batch from now on. A placing or a `redo` that comes meanwhile is refused
   at its first step, instead of being undone in those services alone that still know it;
4. payment, inventory, shipping and notification remove their rows;
5. the order service removes its own last. Until then its record says how the order ended, and the audit knows by it
   that the missing rows of the other services are no loss.

What was refused is retired whatever Temporal says later: only a second placing, which was refused, can be there.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import BaseModel
from temporalio.client import Client

from client import handles
from client.coordinators import workflows_of
from contracts import order
from contracts.ids import Coordinator, Kind, whole_of
from contracts.retention import LIST_OLD, MAX_BATCH, RETIRE, ListOld, Retire, Retired, RetireStage, Stays
from runtime.execute import execute

MAX_A_RUN = 200_000
"""Transactions that one run retires: it keeps their ids in memory. Another run takes the rest."""
DEFAULT_BATCH = 200
_AT_ONCE = 50
"""Workflows described at a time."""


class Retirement(BaseModel):
    """The result of a run. A transaction counts once, with all of its parts."""

    before: datetime
    retired: int = 0
    rows: int = 0
    """Rows removed in all databases."""
    known_to_temporal: int = 0
    """Old transactions that stay because Temporal still has a workflow of theirs."""
    holding: int = 0
    """Those that stay because a service holds something for them: an operator has skipped the call that ends it, or a
    transaction given as data was made to hold it."""
    young: int = 0
    """Those that stay because a service changed something for them later."""
    more: bool = False
    """Whether there are more old transactions than one run takes."""


@dataclass
class Plan:
    """The old transactions, each with the ids of all its parts."""

    before: datetime
    transactions: dict[str, list[str]] = field(default_factory=dict)
    more: bool = False

    def batches(self, size: int) -> Iterable[dict[str, list[str]]]:
        wholes = sorted(self.transactions)
        for start in range(0, len(wholes), size):
            yield {whole: self.transactions[whole] for whole in wholes[start : start + size]}


class Retirer:
    def __init__(self, client: Client, batch: int = DEFAULT_BATCH) -> None:
        """`batch` is the number of transactions removed at a time, at most `MAX_BATCH`."""
        self._client = client
        self._batch = min(batch, MAX_BATCH)
        self._known: dict[str, bool] = {}

    async def plan(self, before: datetime) -> Plan:
        """The transactions that services list as old: they have changed nothing for them since `before`."""
        ids: dict[str, set[str]] = defaultdict(set)
        young: set[str] = set()
        await asyncio.gather(*(self._list(service, before, ids, young) for service in LIST_OLD))
        old = {whole: sorted(parts) for whole, parts in sorted(ids.items()) if whole not in young}
        first = dict(list(old.items())[:MAX_A_RUN])
        return Plan(before, first, more=len(old) > len(first))

    async def _list(self, service: str, before: datetime, ids: dict[str, set[str]], young: set[str]) -> None:
        after: str | None = ""
        while after is not None:
            page = await execute(self._client, LIST_OLD[service], ListOld(before=before, after=after))
            for each in page.transaction_ids:
                ids[whole_of(each)].add(each)
            young |= {whole_of(each) for each in page.young_parts}
            after = page.next

    async def carry_out(self, plan: Plan, tell: Callable[[int], None] = lambda _: None) -> Retirement:
        """Retire what may go of the plan; `tell` gets the number of examined transactions after each batch."""
        result = Retirement(before=plan.before, more=plan.more)
        for batch in plan.batches(self._batch):
            await self._retire(batch, result)
            tell(len(batch))
        return result

    async def _retire(self, batch: dict[str, list[str]], result: Retirement) -> None:
        examined = await self._ask(list(RETIRE), batch, result.before, RetireStage.EXAMINE)
        staying = {whole_of(each): why for answer in examined.values() for each, why in answer.staying.items()}
        result.holding += sum(why is Stays.HOLDS for why in staying.values())
        result.young += sum(why is Stays.YOUNG for why in staying.values())
        leaving = {whole: ids for whole, ids in batch.items() if whole not in staying}
        known = await self._known_to_temporal(leaving, list(examined.values()))
        result.known_to_temporal += len(known)
        leaving = {whole: ids for whole, ids in leaving.items() if whole not in known}
        if leaving:
            await self._remove(leaving, result)

    async def _remove(self, leaving: dict[str, list[str]], result: Retirement) -> None:
        """Refuse and remove what still may go: a service may have begun to hold something since it was examined."""
        others = [service for service in RETIRE if service != order.QUEUE]
        stages = ((list(RETIRE), RetireStage.REFUSE), (others, RetireStage.REMOVE), ([order.QUEUE], RetireStage.REMOVE))
        for services, stage in stages:
            answers = (await self._ask(services, leaving, result.before, stage)).values()
            result.rows += sum(answer.rows for answer in answers)
            staying = {whole_of(each) for answer in answers for each in answer.staying}
            result.holding += len(staying)
            leaving = {whole: ids for whole, ids in leaving.items() if whole not in staying}
            if not leaving:
                return
        result.retired += len(leaving)

    async def _ask(
        self, services: Sequence[str], batch: dict[str, list[str]], before: datetime, stage: RetireStage
    ) -> dict[str, Retired]:
        ids = tuple(dict.fromkeys(each for whole, parts in batch.items() for each in (whole, *parts)))
        request = Retire(transaction_ids=ids, before=before, stage=stage)
        answers = await asyncio.gather(*(execute(self._client, RETIRE[name], request) for name in services))
        return dict(zip(services, answers, strict=True))

    async def _known_to_temporal(self, batch: dict[str, list[str]], records: Sequence[Retired]) -> set[str]:
        """The transactions of which Temporal has a workflow, open or closed, but for those that are refused already."""
        refused = {whole for record in records for whole in record.refused}
        coordinators = {each: by for record in records for each, by in record.coordinators.items()}
        asked = [whole for whole in batch if whole not in refused]
        known: set[str] = set()
        for start in range(0, len(asked), _AT_ONCE):
            part = asked[start : start + _AT_ONCE]
            answers = await asyncio.gather(*(self._is_known(whole, batch[whole], coordinators) for whole in part))
            known |= {whole for whole, is_known in zip(part, answers, strict=True) if is_known}
        return known

    async def _is_known(self, whole: str, ids: Sequence[str], coordinators: dict[str, str]) -> bool:
        names = (name for each in (whole, *ids) for name in workflows_of(each, coordinators.get(each)))
        for workflow_id in dict.fromkeys(names):
            if await self._exists(workflow_id):
                return True
        return False

    async def _exists(self, workflow_id: str) -> bool:
        """A batch is asked for once, whatever the number of its orders."""
        if Coordinator.parse(workflow_id).kind is not Kind.BATCH:
            return await handles.status_of(self._client, workflow_id) is not None
        if workflow_id not in self._known:
            self._known[workflow_id] = await handles.status_of(self._client, workflow_id) is not None
        return self._known[workflow_id]
