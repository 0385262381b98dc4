"""The package `temporal-saga` as others use it: from its wheel, by its documentation."""
