"""Defects of what crosses the border of the program: encryption, documents, options, output."""

from __future__ import annotations

from .mutation import Edit, Mutation

_CONNECTION, _ENCRYPTION = "runtime/connection.py", "runtime/encryption.py"
_MESSAGE = "contracts/message.py"
_ENCRYPTED, _WRITTEN = "tests/end_to_end/test_encryption.py", "tests/contracts/test_words.py"

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

_WORDS = (
    Mutation(
        "a name may hold what turns or hides the text around it",
        (Edit(_MESSAGE, r'_PLAIN = r"[^\p{C}\p{Zl}\p{Zp}]"', r'_PLAIN = r"[^\x00-\x1f\x7f]"'),),
        (
            f"{_WRITTEN}::test_a_text_that_is_not_seen_as_written_is_refused_in_words[a bidirectional override]",
            f"{_WRITTEN}::test_a_text_that_is_not_seen_as_written_is_refused_in_words[a C1 control]",
        ),
    ),
    Mutation(
        "a name may be of invisible characters alone",
        (Edit(_MESSAGE, "--[\\p{Default_Ignorable_Code_Point}\\u{2800}]]", "]"),),
        (f"{_WRITTEN}::test_a_text_that_is_not_seen_as_written_is_refused_in_words[only a filler]",),
    ),
    Mutation(
        "a field answers with the pattern that it does not match",
        (
            Edit(
                _MESSAGE,
                "return core_schema.custom_error_schema(\n"
                '            handler(source), custom_error_type="in_words", custom_error_message=self.words\n'
                "        )",
                "return handler(source)",
            ),
        ),
        (f"{_WRITTEN}::test_no_field_of_a_document_answers_with_a_pattern[order-contact.phone]",),
    ),
    Mutation(
        "a deadline is made from text or from a flag",
        (
            Edit(
                "contracts/order.py",
                "deadline_s: Annotated[float, Field(strict=True, ",
                "deadline_s: Annotated[float, Field(",
            ),
        ),
        (
            f"{_WRITTEN}::test_a_duration_is_a_number_and_nothing_that_could_be_made_one[deadline_s-60]",
            f"{_WRITTEN}::test_a_duration_is_a_number_and_nothing_that_could_be_made_one[deadline_s-True]",
        ),
    ),
    Mutation(
        "every address needs a postcode, also where there are none",
        (Edit("contracts/order.py", " and self.country not in WITHOUT_POSTCODE", ""),),
        (f"{_WRITTEN}::test_an_address_where_there_are_no_postcodes_needs_none[postcode0-HK]",),
    ),
    Mutation(
        "any two letters are a country",
        (Edit("contracts/countries.py", "    if code in COUNTRIES:", "    if len(code) == 2:"),),
        (f"{_WRITTEN}::test_a_country_that_does_not_exist_is_refused_with_the_code_that_is_meant[ZZ-such as DE]",),
    ),
)

INPUT_OUTPUT = (*_SECRETS, *_WORDS)
