"""A trip: a flight, a hotel and a car are booked together, or none of them is."""

import asyncio
import sys

from temporalio import activity, workflow
from temporalio.client import Client, WorkflowFailureError
from temporalio.worker import Worker

from temporal_saga import CancellableSagaWorkflow, Refusal, SagaPlugin


class Agency:
    @activity.defn
    async def book_flight(self, city: str) -> None:
        print(f"flight to {city} booked")

    @activity.defn
    async def cancel_flight(self, city: str) -> None:
        print(f"flight to {city} cancelled")

    @activity.defn
    async def book_hotel(self, city: str) -> None:
        print(f"hotel in {city} booked")

    @activity.defn
    async def cancel_hotel(self, city: str) -> None:
        print(f"hotel in {city} cancelled")

    @activity.defn
    async def rent_car(self, city: str) -> None:
        if city == "Atlantis":
            raise Refusal("NO_CARS", "no roads in Atlantis")
        print(f"car in {city} rented")


@workflow.defn
class TripWorkflow(CancellableSagaWorkflow):
    @workflow.run
    async def run(self, city: str) -> str:
        async with self.saga as saga:
            await saga.step(Agency.book_flight, city, undo=Agency.cancel_flight)
            await saga.step(Agency.book_hotel, city, undo=Agency.cancel_hotel)
            await saga.pivot(Agency.rent_car, city)
        return f"to {city}: {saga.log.state}"


async def main(city: str, server: str = "localhost:7233") -> None:
    client, at = await Client.connect(server, plugins=[SagaPlugin()]), Agency()
    served = [at.book_flight, at.cancel_flight, at.book_hotel, at.cancel_hotel, at.rent_car]
    async with Worker(client, task_queue="trips", workflows=[TripWorkflow], activities=served):
        try:
            print(await client.execute_workflow(TripWorkflow.run, city, id=f"trip-to-{city}", task_queue="trips"))
        except WorkflowFailureError as failed:
            print("no trip,", failed.cause)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
