"""Sample requests of the notification service."""

from contracts import notification
from contracts.errors import Code

from ..requests import notice
from ..sample import Refused, Sample

SAMPLES = (
    Sample(
        notification.send_confirmation,
        notice(),
        other=notice(2000),
        refused=Refused(Code.NOTIFICATION_FAILED, notice(email="ada@nowhere.invalid")),
    ),
)
