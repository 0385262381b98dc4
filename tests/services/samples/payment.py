"""Sample requests of the payment service."""

from contracts import payment
from contracts.errors import Code

from ..requests import TX, balance, charge
from ..sample import OTHER_TX, Refused, Sample
from ..service_harness import Call

_rich = Call(payment.set_account, balance(100_000))
_authorized = Call(payment.authorize, charge(1999))

SAMPLES = (
    Sample(
        payment.authorize,
        charge(1999),
        other=charge(2000),
        before=(_rich,),
        refused=Refused(
            Code.INSUFFICIENT_FUNDS, charge(1999), before=(Call(payment.set_account, balance(10)),), remedy=(_rich,)
        ),
    ),
    Sample(
        payment.capture,
        charge(1999),
        other=charge(2000),
        before=(_rich, _authorized),
        refused=Refused(Code.NOTHING_TO_ACT_ON, charge(1999), remedy=(_rich, _authorized)),
    ),
    Sample(
        payment.set_account,
        balance(500, transaction_id=TX),
        other=balance(501, transaction_id=TX),
        refused=Refused(
            Code.INVALID_REQUEST,
            balance(500, transaction_id=TX),
            before=(_rich, Call(payment.authorize, charge(1999, OTHER_TX))),
            remedy=(Call(payment.cancel, charge(1999, OTHER_TX)),),
        ),
    ),
)
