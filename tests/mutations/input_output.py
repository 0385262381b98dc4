"""Defects of what crosses the border of the program: encryption, documents, options, output."""

from __future__ import annotations

from .mutation import Edit, Mutation

_CONNECTION, _ENCRYPTION = "runtime/connection.py", "runtime/encryption.py"
_ENCRYPTED = "tests/end_to_end/test_encryption.py"

_SECRETS = (
    Mutation(
        "failures stay in clear text where payloads are encrypted",
        (Edit(_CONNECTION, ", failure_converter_class=EncryptedFailures", ""),),
        (f"{_ENCRYPTED}::test_temporal_keeps_no_value_of_a_document_nor_a_reason_in_clear_text",),
    ),
    Mutation(
        "a process without the key tells an encrypted failure as the words Encoded failure",
        (Edit(_CONNECTION, ", failure_converter_class=SealedFailures", ""),),
        (f"{_ENCRYPTED}::test_a_failure_without_details_is_not_told_as_encoded_failure[no key]",),
    ),
)

INPUT_OUTPUT = _SECRETS
