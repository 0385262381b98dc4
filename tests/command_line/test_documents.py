"""Every place that reads a document takes the same bytes, and refuses the others in one line that says what to do."""

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from activities.catalogue import SERVICES
from cli import documents
from contracts.batch import InvalidBatch, parse
from contracts.batch_operation import SUFFIX
from contracts.errors import Code
from contracts.order import Order
from contracts.transaction import MAX_DOCUMENT_BYTES, Transaction
from runtime.commandline import CommandFailed, Exit
from runtime.faults import read_faults
from runtime.settings import SettingsError

_LINE = {"sku": "BOOK-1", "quantity": 1, "unit_price_minor": 1299}
_ORDER = documents.document("o-1", "c-1", [_LINE])
_ORDER["ship_to"] = _ORDER["ship_to"] | {"name": "Zoë"}
_STEP = {"name": "pay", "commit": "work", "queue": "own", "input": {"name": "Zoë"}}
_TRANSACTION = {"transaction_id": "t-1", "steps": [_STEP]}

Read = Callable[[str], Any]
_READERS: dict[str, tuple[Read, str]] = {
    "place": (documents.read_order, json.dumps(_ORDER, ensure_ascii=False)),
    "bulk": (documents.read_orders, json.dumps(_ORDER, ensure_ascii=False)),
    "transaction": (
        lambda source: documents.read_document(source, Transaction, Code.INVALID_TRANSACTION, MAX_DOCUMENT_BYTES),
        json.dumps(_TRANSACTION, ensure_ascii=False),
    ),
    "desk fix": (
        lambda source: documents.read_json(source, Code.INVALID_REQUEST),
        json.dumps(_ORDER, ensure_ascii=False),
    ),
    "faults": (
        lambda source: read_faults(Path(source)),
        '[[fault]]\noperation = "*"\nkind = "hang"\ntransaction = "Zoë"',
    ),
}
every_reader = pytest.mark.parametrize(("read", "text"), _READERS.values(), ids=_READERS.keys())
every_reader_of_json = pytest.mark.parametrize(
    ("read", "text"),
    [reader for name, reader in _READERS.items() if name != "faults"],
    ids=[name for name in _READERS if name != "faults"],
)


def _from(place: str, read: Read, data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    if place == "stdin":
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
        return read("-")
    (tmp_path / "document").write_bytes(data)
    return read(str(tmp_path / "document"))


def _refusal(place: str, read: Read, data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    with pytest.raises((CommandFailed, SettingsError)) as refused:
        _from(place, read, data, tmp_path, monkeypatch)
    if isinstance(refused.value, CommandFailed):
        assert refused.value.exit_code is Exit.INVALID
    assert "\n" not in str(refused.value)
    return str(refused.value)


@every_reader
@pytest.mark.parametrize("place", ["stdin", "file"])
def test_a_byte_order_mark_before_a_document_means_nothing(
    read: Read, text: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marked = _from(place, read, text.encode("utf-8-sig"), tmp_path, monkeypatch)
    assert marked == _from(place, read, text.encode(), tmp_path, monkeypatch)
    assert "Zoë" in repr(marked)


@every_reader_of_json
@pytest.mark.parametrize("place", ["stdin", "file"])
@pytest.mark.parametrize("data", [b"", b" \n\t", b"\xef\xbb\xbf"])
def test_nothing_is_no_document_and_told_as_that(
    read: Read, text: str, place: str, data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = _refusal(place, read, data, tmp_path, monkeypatch)
    assert re.search(r": (not JSON: it is empty; write a document|there is no order in it; write one a line)$", problem)


@pytest.mark.parametrize("pattern", ["paymnt.authorize", "payment", "order/*", "payment.authorize.batches"])
def test_a_fault_of_no_operation_is_refused_because_it_would_never_strike(pattern: str, tmp_path: Path) -> None:
    (tmp_path / "faults.toml").write_text(f'[[fault]]\noperation = "{pattern}"\nkind = "hang"')
    with pytest.raises(SettingsError, match=rf"fault\.0\.operation: {re.escape(pattern)} matches no operation"):
        read_faults(tmp_path / "faults.toml")


@pytest.mark.parametrize("service", SERVICES)
def test_a_fault_of_every_operation_that_a_service_serves_is_read(service: str, tmp_path: Path) -> None:
    handled = [each.operation.name for each in SERVICES[service].handlers]
    served = [
        *handled,
        *(f"{name}{SUFFIX}" for name in handled),
        *(q.operation.name for q in SERVICES[service].queries),
    ]
    faults = [f'[[fault]]\noperation = "{name}"\nkind = "hang"' for name in served]
    (tmp_path / "faults.toml").write_text("\n".join(faults))
    assert len(read_faults(tmp_path / "faults.toml")) == len(served) > 3


@pytest.mark.parametrize(
    "pattern", ["*", "payment.*", "*.batch", "order.publish.OrderCreated", "recovery.sweep", "payment.authorize"]
)
def test_a_fault_names_operations_by_a_pattern(pattern: str, tmp_path: Path) -> None:
    (tmp_path / "faults.toml").write_text(f'[[fault]]\noperation = "{pattern}"\nkind = "hang"')
    assert [fault.operation for fault in read_faults(tmp_path / "faults.toml")] == [pattern]


@every_reader
@pytest.mark.parametrize("place", ["stdin", "file"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "cp1252"])
def test_text_in_another_encoding_is_refused_in_one_line_that_names_the_right_one(
    read: Read, text: str, place: str, encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = _refusal(place, read, text.encode(encoding), tmp_path, monkeypatch)
    assert "save it as UTF-8" in problem
    assert ("UTF-16" in problem) == encoding.startswith("utf-")


@every_reader
def test_a_document_that_is_too_long_is_not_read_to_its_end(
    read: Read, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "MAX_ORDERS", 500)
    assert "longer than" in _refusal("file", read, text.encode() + b" " * 1_000_001, tmp_path, monkeypatch)


@every_reader_of_json
@pytest.mark.parametrize("place", ["stdin", "file"])
def test_a_key_that_is_there_twice_is_refused_by_its_name(
    read: Read, text: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("name", "quantity", "order_id", "transaction_id"):
        if f'"{key}": ' not in text:
            continue
        again = text.replace(f'"{key}": ', f'"{key}": 9, "{key}": ', 1)
        problem = _refusal(place, read, again.encode(), tmp_path, monkeypatch)
        assert f'the key "{key}" is in one object twice; write it once' in problem


def test_a_key_that_is_there_twice_is_found_however_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = json.dumps(_ORDER).replace('"quantity": 1', '"quantity": 1, "quantit\\u0079": 2')
    assert 'the key "quantity" is in' in _refusal("file", documents.read_order, again.encode(), tmp_path, monkeypatch)


def test_a_key_that_is_there_twice_in_an_order_of_many_starts_none_and_is_found_on_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = json.dumps(_ORDER)
    bad = good.replace('"quantity": 1', '"quantity": 1, "quantity": 2')
    problem = _refusal("stdin", documents.read_orders, f"{good}\n\n{bad}\n".encode(), tmp_path, monkeypatch)
    assert problem.startswith('stdin:3: the key "quantity"')


def test_a_batch_from_another_client_with_a_key_twice_is_no_batch() -> None:
    bad = json.dumps([_ORDER]).replace('"quantity": 1', '"quantity": 1, "quantity": 2')
    with pytest.raises(InvalidBatch, match='the key "quantity" is in one object twice'):
        parse(bad.encode())


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n", "\n\ufeff"])
def test_orders_are_one_a_line_whatever_ends_the_line(
    end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [json.dumps(_ORDER | {"order_id": f"o-{at}"}) for at in range(3)]
    read = _from("file", documents.read_orders, end.join(lines).encode(), tmp_path, monkeypatch)
    assert [order.order_id for order in read] == ["o-0", "o-1", "o-2"]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\u3000"])
def test_no_character_within_a_text_ends_the_line_of_its_order(
    separator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the field itself refuses it, one order and many answer alike."""
    ship_to = _ORDER["ship_to"] | {"street": f"1{separator}Way"}
    data = json.dumps(_ORDER | {"ship_to": ship_to}, ensure_ascii=False).encode()
    if separator != "\x85":
        [order] = _from("file", documents.read_orders, data, tmp_path, monkeypatch)
        assert order == _from("file", documents.read_order, data, tmp_path, monkeypatch)
        return
    single = _refusal("stdin", documents.read_order, data, tmp_path, monkeypatch)
    assert single.startswith("stdin: ship_to.street: must be text")
    assert _refusal("stdin", documents.read_orders, data, tmp_path, monkeypatch) == single.replace(": ", ":1: ", 1)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ((["BOOK-1:1"], "a b", None), "--customer: must be 1 to 64 letters"),
        ((["BOOK-1:1"], None, "a/b"), "--id: must be 1 to 64 letters"),
        ((["B K:1"], None, None), "--item B K:1: sku: must be 1 to 64 letters"),
        ((["PEN-1:1", "BOOK-1:0"], None, None), "--item BOOK-1:0: quantity: must be at least 1"),
        ((["BOOK-1:1", "BOOK-1:2"], None, None), "--item: sku BOOK-1 is on two lines"),
        (([""], None, None), "--item : write SKU:QUANTITY"),
    ],
)
def test_an_order_made_of_options_is_refused_by_the_option(
    options: tuple[list[str], str | None, str | None], named: str
) -> None:
    with pytest.raises(CommandFailed) as refused:
        documents.order_of_options(*options)
    assert refused.value.message.startswith(named)


@pytest.mark.parametrize("text", ["", "   ", "a\nb", "\x9b31m", "a\u202eb", "\u200b", "x" * 1001])
def test_a_reason_is_text_that_can_be_shown(text: str) -> None:
    with pytest.raises(CommandFailed, match="--reason: must be text of 1 to 1000 characters") as refused:
        documents.remark(text, "--reason")
    assert refused.value.exit_code is Exit.INVALID


def test_a_reason_is_taken_without_the_space_around_it() -> None:
    assert documents.remark(" paid back by cheque ", "--reason") == "paid back by cheque"


def test_an_order_is_an_object() -> None:
    with pytest.raises(CommandFailed, match="x: must be a JSON object"):
        documents._checked(Order, [], "x")
