"""The package `temporal-saga` as others use it: from its wheel, by its documentation, with a database of their own.

`hotel` is a service of others behind the fence: its operations, its tables, and deliveries of requests.
"""
