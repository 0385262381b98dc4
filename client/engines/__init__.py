"""The ways in which an order travels, one engine for each; none of them knows the others or `client.orders`."""
