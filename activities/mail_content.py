"""A message as a mail has it: a text and a page from `activities/templates`.

Every outcome has two templates: `.txt` is the text of the mail and names its subject; `.html` is the page, in which
every value is escaped.
"""

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template, select_autoescape

from activities.wording import Story, sentence, total
from contracts.notification import NotifyCustomer


class MailContent(NamedTuple):
    subject: str
    text: str
    html: str


def mail_content(story: Story, request: NotifyCustomer) -> MailContent:
    values = {"order_id": request.order_id, "total": total(request), "sentence": sentence(story, request)}
    text: Any = _template(f"{story}.txt").make_module(values)
    return MailContent(text.subject, str(text).strip() + "\n", _template(f"{story}.html").render(values))


@cache
def _template(name: str) -> Template:
    return _environment().get_template(name)


@cache
def _environment() -> Environment:
    folder = FileSystemLoader(Path(__file__).parent / "templates")
    return Environment(loader=folder, autoescape=select_autoescape(["html"]), undefined=StrictUndefined)
