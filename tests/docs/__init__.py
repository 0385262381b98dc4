"""Tests of the documents: what they name exists, and what they say of the code is true."""
