"""What a customer reads: every outcome in text and HTML, a reason in words, and no markup from outside."""

import pytest

from activities.mail_content import MailContent, mail_content
from activities.notification import story_of
from activities.wording import _REASONS, Story, sentence
from contracts.errors import Code
from contracts.notification import NotifyCustomer
from contracts.order import OrderState

from .requests import notice


def _about(code: str) -> NotifyCustomer:
    return notice().model_copy(update={"cause": code})


def _told(code: str) -> tuple[str, MailContent]:
    """The sentence and the mail about a rollback."""
    request = _about(code)
    story = story_of(request, OrderState.CANCELLED)
    return sentence(story, request), mail_content(story, request)


@pytest.mark.parametrize("story", Story)
def test_every_outcome_has_a_sentence_a_subject_a_text_and_a_page(story: Story) -> None:
    line, mail = sentence(story, notice()), mail_content(story, notice())
    assert line.startswith("Your order o-1 ")
    assert line in mail.text
    assert line in mail.html
    assert mail.subject.startswith("Your order o-1 ")
    assert "\n" not in mail.subject + line
    assert mail.text.startswith("Hello,\n\n")
    assert mail.html.startswith("<!doctype html>")
    assert f"<title>{mail.subject}</title>" in mail.html


@pytest.mark.parametrize("code", _REASONS)
def test_a_rollback_is_told_with_its_reason_in_words(code: str) -> None:
    line, mail = _told(code)
    assert f"could not be completed: {_REASONS[code]}. Nothing is charged" in line
    assert line in mail.text
    assert line in mail.html


@pytest.mark.parametrize("code", ["", "A_CODE_OF_A_LATER_BUILD", Code.IDEMPOTENCY_CONFLICT])
def test_a_reason_that_is_not_for_customers_is_left_out(code: str) -> None:
    line, _ = _told(code)
    assert line == "Your order o-1 could not be completed. Nothing is charged; what was held is released."


def test_a_cancelled_order_is_told_as_cancelled() -> None:
    line, mail = _told(Code.CANCELLED)
    assert mail.subject == "Your order o-1 is cancelled"
    assert line == "Your order o-1 is cancelled. Nothing is charged; what was held is released."


def test_a_value_is_no_markup_in_a_page() -> None:
    injected = notice().model_copy(update={"order_id": "<img src=x>"})
    mail = mail_content(Story.CONFIRMED, injected)
    assert "&lt;img src=x&gt;" in mail.html
    assert "<img" not in mail.html
    assert "<img src=x>" in mail.text
