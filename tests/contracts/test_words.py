"""A document is accepted as its writer means it, or refused with a message that names the field and a remedy."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from activities.fence import digest
from cli.documents import document
from contracts.countries import COUNTRIES, WITHOUT_POSTCODE
from contracts.message import Message, Text
from contracts.order import Address, CreateOrder, Order
from contracts.problems import first_problem
from contracts.shipping import ScheduleShipment
from contracts.transaction import Transaction
from runtime.faults import Fault

_CONTRACTS = sorted(path.stem for path in (Path(__file__).parents[2] / "contracts").glob("[a-z]*.py"))
_SHIP_TO = {"name": "Ada", "street": "Engine Street 1", "city": "Berlin", "postcode": "10115", "country": "DE"}


def _order(**changes: Any) -> dict[str, Any]:
    return document("o-1", "c-1", [{"sku": "BOOK-1", "quantity": 1, "unit_price_minor": 1299}]) | changes


def _problem(model: type[BaseModel], given: Any) -> str:
    with pytest.raises(ValidationError) as refused:
        model.model_validate(given)
    return first_problem(refused.value)


HARMFUL = {
    "only zero-width characters": "\u200b\u200b",
    "a zero-width character": "Ada\u200bLovelace",
    "a byte order mark": "\ufeffAda",
    "a bidirectional override": "Ada \u202eecalevoL",
    "a bidirectional isolate": "Ada\u2066",
    "a C0 control": "Ada\x1b[2J",
    "a C1 control": "Ada\x9b2J",
    "delete": "Ada\x7f",
    "half a surrogate pair": "Ada\ud800",
    "private use": "Ada\ue000",
    "not a character": "Ada\ufffe",
    "tags": "Ada\U000e0041",
    "a joiner at the end": "Ada\u200d",
    "joiners alone": "\u200d\u200c",
    "two joiners in a row": "Ada\u200d\u200dL",
    "only a filler": "\u3164",
    "only a blank of Braille": "\u2800",
    "only space": " \u3000\u2028",
    "nothing": "",
    "too much": "a" * 201,
}


@pytest.mark.parametrize("name", HARMFUL.values(), ids=HARMFUL.keys())
def test_a_text_that_is_not_seen_as_written_is_refused_in_words(name: str) -> None:
    problem = _problem(Order, _order(ship_to=_SHIP_TO | {"name": name}))
    assert problem.startswith("ship_to.name: must be text of 1 to 200 characters")


@pytest.mark.parametrize(
    "name",
    [
        "Ada",
        "Zoë d'Ångström",
        "東京都\u3000千代田区",
        "Ada\u2028Lovelace",
        "Ada\u2029Lovelace",
        "علی می\u200cخواهم",  # noqa: RUF001 — Persian
        "क्\u200dष",
        "👩\u200d👩\u200d👧",
        "❤\ufe0f",
        "a" * 200,
    ],
)
def test_a_text_in_any_script_is_taken(name: str) -> None:
    assert TypeAdapter(Text).validate_python(name) == name


def _shapes(value: Any, path: str = "") -> list[tuple[str, str]]:
    """Every text within a document, with its path."""
    if isinstance(value, dict):
        return [shape for key, each in value.items() for shape in _shapes(each, f"{path}.{key}")]
    if isinstance(value, list | tuple):
        return [shape for at, each in enumerate(value) for shape in _shapes(each, f"{path}.{at}")]
    return [(path.removeprefix("."), value)] if isinstance(value, str) else []


def _with(given: Any, path: str, value: Any) -> Any:
    key, _, rest = path.partition(".")
    if isinstance(given, list):
        return [_with(each, rest, value) if rest else value for each in given]
    return given | {key: _with(given[key], rest, value) if rest else value}


_STEP = {"name": "pay", "commit": "work", "rollback": "undo", "queue": "own", "input": {}}
_DOCUMENTS: dict[str, tuple[type[BaseModel], dict[str, Any]]] = {
    "order": (Order, _order()),
    "transaction": (Transaction, {"transaction_id": "t-1", "steps": [_STEP]}),
}


@pytest.mark.parametrize(
    ("name", "path"), [(name, path) for name, (_, given) in _DOCUMENTS.items() for path, _ in _shapes(given)]
)
def test_no_field_of_a_document_answers_with_a_pattern(name: str, path: str) -> None:
    model, given = _DOCUMENTS[name]
    problem = _problem(model, _with(given, path, "\x00^"))
    assert problem.startswith(f"{path}: ")
    assert "pattern" not in problem
    assert "not allowed" not in problem  # the message for a type without its own
    assert "\\x00" not in problem


@pytest.mark.parametrize("given", ["60", True, None, "", float("nan"), float("inf")])
@pytest.mark.parametrize("field", ["deadline_s", "timeout_s"])
def test_a_duration_is_a_number_and_nothing_that_could_be_made_one(field: str, given: Any) -> None:
    if field == "deadline_s":
        assert _problem(Order, _order(deadline_s=given)).startswith("deadline_s: ")
        return
    step = {"name": "pay", "commit": "work", "queue": "own", "timeout_s": given}
    problem = _problem(Transaction, {"transaction_id": "t-1", "steps": [step]})
    assert problem.startswith("steps.0.timeout_s: ")


def _models() -> list[type[BaseModel]]:
    contracts = [import_module(f"contracts.{name}") for name in _CONTRACTS]
    found = {each for module in contracts for each in vars(module).values() if isinstance(each, type)}
    return sorted({each for each in found if issubclass(each, Message)} | {Fault}, key=lambda each: each.__name__)


_NUMBERS_AND_FLAGS = [
    (model, name)
    for model in _models()
    for name, field in model.model_fields.items()
    if field.annotation in (int, float, bool) or {int, float, bool} & set(getattr(field.annotation, "__args__", ()))
]


@pytest.mark.parametrize(
    ("model", "name"), _NUMBERS_AND_FLAGS, ids=[f"{model.__name__}.{name}" for model, name in _NUMBERS_AND_FLAGS]
)
@pytest.mark.parametrize("given", ["1", "true", "the other"])
def test_no_number_or_flag_of_any_message_is_made_from_text_or_from_the_other(
    model: type[BaseModel], name: str, given: object
) -> None:
    if given == "the other":
        given = 1 if model.model_fields[name].annotation is bool else True
    with pytest.raises(ValidationError) as refused:
        model.model_validate({name: given})
    assert name in {problem["loc"][0] for problem in refused.value.errors()}


@pytest.mark.parametrize(("code", "hint"), [("UK", "GB"), ("ZZ", "such as DE"), ("de", "write DE"), ("XX", "such as")])
def test_a_country_that_does_not_exist_is_refused_with_the_code_that_is_meant(code: str, hint: str) -> None:
    problem = _problem(Order, _order(ship_to=_SHIP_TO | {"country": code}))
    assert problem.startswith("ship_to.country: not an ISO 3166-1 alpha-2 country code")
    assert hint in problem


def test_all_countries_of_the_standard_are_known() -> None:
    assert len(COUNTRIES) == 249
    assert WITHOUT_POSTCODE < COUNTRIES


@pytest.mark.parametrize("country", ["HK", "AE"])
@pytest.mark.parametrize("postcode", [{}, {"postcode": None}, {"postcode": "00000"}])
def test_an_address_where_there_are_no_postcodes_needs_none(country: str, postcode: dict[str, str | None]) -> None:
    address = {field: value for field, value in _SHIP_TO.items() if field != "postcode"} | {"country": country}
    assert Address.model_validate(address | postcode).postcode == postcode.get("postcode")


def test_an_address_where_there_are_postcodes_needs_one() -> None:
    address = {field: value for field, value in _SHIP_TO.items() if field != "postcode"}
    assert "postcode: is missing, and DE has postcodes" in _problem(Order, _order(ship_to=address))


def test_requests_with_a_postcode_are_the_same_as_before_it_could_be_left_out() -> None:
    """The digest of a request never changes, because the fence compares it with digests of older releases."""
    order = Order.model_validate(_order(ship_to=_SHIP_TO))
    shipment = ScheduleShipment(transaction_id="order/o-1", order_id="o-1", ship_to=order.ship_to)
    assert digest(shipment) == "d22134f8dbedfc3a2133119dd271a2b41175b866bc981ad51d899592c1ce98fa"
    assert (
        digest(CreateOrder(transaction_id="order/o-1", order=order))
        == "7234d6672dab69c7af0f415451f26a153cf5228a650f07b66b81651b4b0d5ef2"
    )
