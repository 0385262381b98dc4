"""The error codes that a caller can get. They are stable: codes may be added, and none changes its meaning."""

from enum import StrEnum

from temporal_saga import outcome
from temporal_saga.fence import rules


class Code(StrEnum):
    # a service refuses
    OUT_OF_STOCK = "OUT_OF_STOCK"
    UNKNOWN_SKU = "UNKNOWN_SKU"
    PAYMENT_DECLINED = "PAYMENT_DECLINED"
    INSUFFICIENT_FUNDS = "INSUFFICIENT_FUNDS"
    SHIPPING_UNAVAILABLE = "SHIPPING_UNAVAILABLE"
    NOTIFICATION_FAILED = "NOTIFICATION_FAILED"
    # no answer, or one that is too late (the saga kernel names these itself)
    STEP_TIMEOUT = "STEP_TIMEOUT"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    CANCELLED = "CANCELLED"
    ABANDONED = "ABANDONED"
    SERVICE_UNAVAILABLE = "SERVICE_UNAVAILABLE"
    UNREADABLE_REPLY = outcome.UNREADABLE_REPLY
    # the fence refuses (the saga kernel knows the first two)
    IDEMPOTENCY_CONFLICT = outcome.IDEMPOTENCY_CONFLICT
    STEP_UNDONE = outcome.STEP_UNDONE
    NOTHING_TO_ACT_ON = rules.NOTHING_TO_ACT_ON
    RETIRED = "RETIRED"
    """The transaction has ended, its rows were removed for their age, and its id cannot be used again."""
    # the caller's mistake
    DUPLICATE_ORDER = "DUPLICATE_ORDER"
    INVALID_ORDER = "INVALID_ORDER"
    INVALID_TRANSACTION = "INVALID_TRANSACTION"
    DUPLICATE_TRANSACTION = "DUPLICATE_TRANSACTION"
    LANE_FULL = "LANE_FULL"
    LANE_HELD = "LANE_HELD"
    INVALID_REQUEST = "INVALID_REQUEST"
    UNKNOWN_ORDER = "UNKNOWN_ORDER"
    CANCEL_REFUSED = "CANCEL_REFUSED"
    ALREADY_ENDED = "ALREADY_ENDED"
    DESK_REFUSED = "DESK_REFUSED"
    UNKNOWN_CUSTOMER = "UNKNOWN_CUSTOMER"
    OPEN_ORDERS = "OPEN_ORDERS"
    """A customer's data cannot be erased while orders that need it are under way."""
    # an operator's tools
    UNREADABLE = "UNREADABLE"
    NOT_CLEAN = "NOT_CLEAN"
    """The audit has violations that the rows to be removed may explain."""
    ASKED = "ASKED"
    """A query or a decision waits in Temporal for a worker."""
    # an operator changed the workflow through Temporal
    PAUSED = "PAUSED"
    CLOSED_FROM_OUTSIDE = "CLOSED_FROM_OUTSIDE"
    FORGOTTEN = "FORGOTTEN"
    """Temporal knows the workflow no more, so the state is that of the order service's record, without its steps."""
    # the command line's own
    USAGE = "USAGE"
    INTERRUPTED = "INTERRUPTED"
    """The person has left while the command waited; what it has started goes on."""
    UNREACHABLE = "UNREACHABLE"
