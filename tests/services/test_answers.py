"""The metrics say how the fence answered: acted, repeated, refused, or left a tombstone."""

from temporalio.runtime import MetricBuffer, Runtime, TelemetryConfig

from activities.fence import RefusedDecision
from activities.service import Service
from contracts import payment
from contracts.payment import AuthorizePayment, SetAccount

from .conftest import OpenHarness


def _authorization(order_id: str, amount_minor: int = 100) -> AuthorizePayment:
    return AuthorizePayment(
        transaction_id=f"order/{order_id}",
        order_id=order_id,
        customer_id="c-1",
        amount_minor=amount_minor,
        currency="EUR",
    )


async def test_each_answer_of_the_fence_is_counted_by_operation_answer_and_code(open_harness: OpenHarness) -> None:
    buffer = MetricBuffer(100)
    core = Runtime(telemetry=TelemetryConfig(logging=None, metrics=buffer))
    harness = await open_harness("payment")
    harness.service = Service(harness.definition, harness.database, meter=core.metric_meter)
    account = SetAccount(transaction_id="seed", customer_id="c-1", balance_minor=150)
    await harness.deliver(payment.set_account, account)
    await harness.deliver(payment.authorize, _authorization("o-1"))
    await harness.deliver(payment.authorize, _authorization("o-1"))
    assert isinstance(await harness.deliver(payment.authorize, _authorization("o-1", 101)), RefusedDecision)
    assert isinstance(await harness.deliver(payment.authorize, _authorization("o-2", 151)), RefusedDecision)
    await harness.deliver(payment.cancel, _authorization("o-3"))
    updates = [each for each in buffer.retrieve_updates() if each.metric.name == "fence_answers_total"]
    told = [tuple(each.attributes[key] for key in ("operation", "answer", "code")) for each in updates]
    assert told == [
        ("payment.set_account", "acted", ""),
        ("payment.authorize", "acted", ""),
        ("payment.authorize", "repeated", ""),
        ("payment.authorize", "refused", "IDEMPOTENCY_CONFLICT"),
        ("payment.authorize", "refused", "INSUFFICIENT_FUNDS"),
        ("payment.cancel", "tombstone", ""),
    ]
    assert {each.value for each in updates} == {1}
