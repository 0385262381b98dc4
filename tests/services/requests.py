"""Builders of requests, with defaults for the values that a test does not care about."""

from typing import Any

from contracts.inventory import ReserveStock, SetStock, StockLine
from contracts.message import Request
from contracts.notification import NotifyCustomer
from contracts.order import Address, ConfirmOrder, Contact, CreateOrder, Order, OrderLine
from contracts.payment import AuthorizePayment, SetAccount
from contracts.shipping import ScheduleShipment

TX = "order/o-1"
CUSTOMER = "ada"


def reservation(transaction_id: str = TX, /, **quantities: int) -> ReserveStock:
    """A reservation with its lines in the given order: `reservation("order/o-2", apple=2, pear=1)`."""
    lines = tuple(StockLine(sku=sku, quantity=quantity) for sku, quantity in quantities.items())
    return ReserveStock(transaction_id=transaction_id, order_id=_order_of(transaction_id), lines=lines)


def stock_level(sku: str, on_hand: int, transaction_id: str | None = None) -> SetStock:
    return SetStock(transaction_id=transaction_id or f"count-{sku}-{on_hand}", sku=sku, on_hand=on_hand)


def charge(
    amount_minor: int, transaction_id: str = TX, customer_id: str = CUSTOMER, currency: str = "EUR"
) -> AuthorizePayment:
    return AuthorizePayment(
        transaction_id=transaction_id,
        order_id=_order_of(transaction_id),
        customer_id=customer_id,
        amount_minor=amount_minor,
        currency=currency,
    )


def balance(
    balance_minor: int, customer_id: str = CUSTOMER, currency: str = "EUR", transaction_id: str | None = None
) -> SetAccount:
    return SetAccount(
        transaction_id=transaction_id or f"fill-{customer_id}-{balance_minor}",
        customer_id=customer_id,
        balance_minor=balance_minor,
        currency=currency,
    )


def creation(quantity: int = 1, transaction_id: str = TX, order_id: str = "o-1") -> CreateOrder:
    return CreateOrder(
        transaction_id=transaction_id,
        order=Order(
            order_id=order_id,
            customer_id=CUSTOMER,
            currency="EUR",
            lines=(OrderLine(sku="apple", quantity=quantity, unit_price_minor=250),),
            ship_to=address(),
            contact=contact(),
        ),
    )


def confirmation(transaction_id: str = TX, order_id: str = "o-1") -> ConfirmOrder:
    return ConfirmOrder(transaction_id=transaction_id, order_id=order_id)


def shipment(country: str = "DE", transaction_id: str = TX) -> ScheduleShipment:
    return ScheduleShipment(transaction_id=transaction_id, order_id=_order_of(transaction_id), ship_to=address(country))


def notice(total_minor: int = 1999, transaction_id: str = TX, email: str = "ada@example.org") -> NotifyCustomer:
    return NotifyCustomer(
        transaction_id=transaction_id,
        order_id=_order_of(transaction_id),
        contact=contact(email),
        total_minor=total_minor,
        currency="EUR",
    )


def address(country: str = "DE") -> Address:
    return Address(name="Ada Lovelace", street="Engine Street 1", city="Berlin", postcode="10115", country=country)


def contact(email: str = "ada@example.org") -> Contact:
    return Contact(email=email, phone="+4930123456")


def document(request: Request) -> Any:
    """The request in the form that an activity receives: decoded JSON."""
    return request.model_dump(mode="json")


def _order_of(transaction_id: str) -> str:
    return transaction_id.removeprefix("order/")
