"""Defects of what crosses the border of the program: encryption, documents, options, output."""

from .mutation import Edit, Mutation

_CONNECTION, _ENCRYPTION = "runtime/connection.py", "runtime/encryption.py"
_MESSAGE, _READING, _COMMANDLINE = "contracts/message.py", "runtime/reading.py", "runtime/commandline.py"
_ENCRYPTED, _WRITTEN = "tests/end_to_end/test_encryption.py", "tests/contracts/test_words.py"
_READ, _OPTIONS = "tests/command_line/test_documents.py", "tests/command_line/test_options.py"
_OUTPUT, _OUTAGE = "tests/command_line/test_output.py", "tests/command_line/test_outage.py"

_SECRETS = (
    Mutation(
        "failures stay in clear text where payloads are encrypted",
        Edit(_CONNECTION, ", failure_converter_class=EncryptedFailures", ""),
        f"{_ENCRYPTED}::test_temporal_keeps_no_value_of_a_document_nor_a_reason_in_clear_text",
    ),
    Mutation(
        "a process without the key tells an encrypted failure as the words Encoded failure",
        Edit(_CONNECTION, ", failure_converter_class=SealedFailures", ""),
        f"{_ENCRYPTED}::test_a_failure_without_details_is_not_told_as_encoded_failure[no key]",
    ),
)

_WORDS = (
    Mutation(
        "a name may hold what turns or hides the text around it",
        Edit(_MESSAGE, r'_PLAIN = r"[^\p{C}]"', r'_PLAIN = r"[^\x00-\x1f\x7f]"'),
        f"{_WRITTEN}::test_a_text_that_is_not_seen_as_written_is_refused_in_words[a bidirectional override]",
        f"{_WRITTEN}::test_a_text_that_is_not_seen_as_written_is_refused_in_words[a C1 control]",
    ),
    Mutation(
        "a name may be of invisible characters alone",
        Edit(_MESSAGE, "--[\\p{Default_Ignorable_Code_Point}\\u{2800}]]", "]"),
        f"{_WRITTEN}::test_a_text_that_is_not_seen_as_written_is_refused_in_words[only a filler]",
    ),
    Mutation(
        "a field answers with the pattern that it does not match",
        Edit(
            _MESSAGE,
            "return core_schema.custom_error_schema(\n"
            '            handler(source), custom_error_type="in_words", custom_error_message=self.words\n'
            "        )",
            "return handler(source)",
        ),
        f"{_WRITTEN}::test_no_field_of_a_document_answers_with_a_pattern[order-contact.phone]",
    ),
    Mutation(
        "a deadline is made from text or from a flag",
        Edit(
            "contracts/order.py",
            "deadline_s: Annotated[float, Field(strict=True, ",
            "deadline_s: Annotated[float, Field(",
        ),
        f"{_WRITTEN}::test_a_duration_is_a_number_and_nothing_that_could_be_made_one[deadline_s-60]",
        f"{_WRITTEN}::test_a_duration_is_a_number_and_nothing_that_could_be_made_one[deadline_s-True]",
    ),
    Mutation(
        "every address needs a postcode, also where there are none",
        Edit("contracts/order.py", " and self.country not in WITHOUT_POSTCODE", ""),
        f"{_WRITTEN}::test_an_address_where_there_are_no_postcodes_needs_none[postcode0-HK]",
    ),
    Mutation(
        "any two letters are a country",
        Edit("contracts/countries.py", "    if code in COUNTRIES:", "    if len(code) == 2:"),
        f"{_WRITTEN}::test_a_country_that_does_not_exist_is_refused_with_the_code_that_is_meant[ZZ-such as DE]",
    ),
)

_DOCUMENTS = (
    Mutation(
        "of two values under one key the last one wins",
        Edit("contracts/documents.py", "    if len(set(keys)) < len(keys):", "    if False:"),
        f"{_READ}::test_a_key_that_is_there_twice_is_refused_by_its_name[stdin-place]",
        f"{_READ}::test_a_batch_from_another_client_with_a_key_twice_is_no_batch",
    ),
    Mutation(
        "a byte order mark is a part of the document",
        Edit(_READING, "return without_mark(data.decode())", "return data.decode()"),
        f"{_READ}::test_a_byte_order_mark_before_a_document_means_nothing[stdin-place]",
    ),
    Mutation(
        "text in another encoding is a traceback",
        Edit(_READING, "    except UnicodeDecodeError as error:", "    except LookupError as error:"),
        f"{_READ}::test_text_in_another_encoding_is_refused_in_one_line_that_names_the_right_one[latin-1-stdin-place]",
    ),
    Mutation(
        "every line end that Unicode knows ends an order's line",
        Edit(
            "cli/documents.py",
            '_read(source, MAX_ORDERS * 2_000, Code.INVALID_ORDER).split("\\n")',
            "_read(source, MAX_ORDERS * 2_000, Code.INVALID_ORDER).splitlines()",
        ),
        f"{_READ}::test_no_character_within_a_text_ends_the_line_of_its_order[\\u2028]",
    ),
)

_ENDS = (
    Mutation(
        "an option that is given but empty is taken for absent",
        Edit(_COMMANDLINE, "if any(isinstance(each, str) and not each.strip() for each in given):", "if False:"),
        f"{_OPTIONS}::test_every_option_and_argument_refuses_an_empty_value[place id-]",
        f"{_OPTIONS}::test_every_option_and_argument_refuses_an_empty_value[cancel reason-]",
    ),
    Mutation(
        "the exit code depends on who takes the output",
        Edit(_COMMANDLINE, "    streams.protect()\n", ""),
        f"{_OUTPUT}::test_remarks_that_cannot_be_written_change_no_exit_code[_left]",
    ),
    Mutation(
        "output that is lost is not said",
        Edit(_COMMANDLINE, "    if lost is not None:", "    if False:"),
        f"{_OUTPUT}::test_a_full_disk_is_said_in_one_line_and_changes_no_exit_code[short]",
    ),
    Mutation(
        "what other clients have stored acts on the operator's terminal",
        Edit(
            "cli/table.py",
            'Text(visible("" if value is None else str(value)))',
            'Text("" if value is None else str(value))',
        ),
        f"{_OUTPUT}::test_nothing_from_outside_reaches_a_terminal_as_it_was_stored",
    ),
    Mutation(
        "a log line for a terminal is written as another client wrote it",
        Edit("runtime/logs.py", "renderers = [_make_visible, ", "renderers = ["),
        f"{_OUTPUT}::test_a_log_line_for_a_terminal_quotes_nothing_that_it_would_obey",
    ),
    Mutation(
        "each failed attempt is logged twice, once with a traceback of the SDK",
        Edit("runtime/logs.py", "    ATTEMPTS.filters = [_is_news]\n", ""),
        f"{_OUTPUT}::test_a_failure_that_a_service_names_is_logged_without_a_traceback_of_the_sdk",
    ),
    Mutation(
        "each call that waits for Temporal warns of the outage at each of its tries",
        Edit("runtime/logs.py", "        if self._silent_at - before > _ONE_OUTAGE_S:", "        if True:"),
        f"{_OUTAGE}::test_the_warnings_of_all_waiting_calls_are_one_line",
    ),
    Mutation(
        "a wait that an outage ends leaves a failure that nobody retrieves",
        Edit("client/standing.py", "        await asyncio.gather(result, return_exceptions=True)\n", ""),
        Edit("client/standing.py", "        result.cancel()\n", "        pass\n"),
        f"{_OUTAGE}::test_a_wait_that_an_outage_ends_leaves_no_failure_that_nobody_retrieves",
    ),
)

_TABLE, _LOG, _FOLLOW = "cli/table.py", "cli/log.py", "cli/follow.py"
_TABLES, _SHOWN = "tests/command_line/test_tables.py", "tests/command_line/test_log.py"
_WAITING, _COMING = "tests/end_to_end/test_waiting.py", "tests/client/test_to_come.py"

_TERMINAL = (
    Mutation(
        "a table is as wide as its content, whatever the terminal",
        Edit(_TABLE, "while self._needed(beside) > width:", "while False:"),
        f"{_TABLES}::test_no_row_of_a_recorded_outcome_is_wider_than_the_terminal[80]",
        f"{_TABLES}::test_a_row_that_does_not_fit_becomes_a_paragraph",
    ),
    Mutation(
        "an id in a table is cut to the width of the terminal",
        Edit(_TABLE, "options.update(width=width)", "options.update(width=width // 2)"),
        f"{_TABLES}::test_every_id_step_and_code_of_every_recorded_outcome_is_whole[100]",
        f"{_TABLES}::test_no_width_cuts_a_word_that_must_be_whole",
    ),
    Mutation(
        "a dumb terminal is taken for one of 80 columns",
        Edit("cli/show.py", "Console(width=width, height=lines)", "Console(width=width)"),
        f"{_TABLES}::test_a_dumb_terminal_gets_tables_of_its_own_width",
    ),
    Mutation(
        "a text that does not fit into its row is lost",
        Edit(_TABLE, "yield from _folded(text, console, options.max_width)", "pass"),
        f"{_TABLES}::test_a_long_text_goes_under_its_row",
    ),
    Mutation(
        "calls that followed one another look as if they ran side by side",
        Edit(_LOG, "if beside and (first_end is None or entry.started_at < first_end):", "if at > 0:"),
        f"{_SHOWN}::test_the_pivot_is_marked_and_what_ran_side_by_side_is_bracketed",
    ),
    Mutation(
        "a skip does not say who decided it",
        Edit(_LOG, "        if entry.skipped is not None:", "        if False:"),
        f"{_SHOWN}::test_a_skip_says_who_decided_it_and_why",
    ),
    Mutation(
        "a person who leaves a waiting command is not told what goes on",
        Edit(_FOLLOW, "            if not self._is_asked_for:\n                raise\n", "            raise\n"),
        f"{_WAITING}::test_place_says_at_once_what_it_starts_and_on_ctrl_c_that_it_goes_on_and_what_shows_it",
    ),
    Mutation(
        "a program that reads a document gets progress for people beside it",
        Edit("cli/show.py", "return json and not stderr.is_terminal", "return False"),
        f"{_WAITING}::test_without_a_terminal_a_document_comes_alone",
    ),
    Mutation(
        "no client knows where the Web UI of the embedded server is",
        Edit("runtime/web_ui.py", "UpdateNamespaceInfo(data={_KEY: address})", "UpdateNamespaceInfo()"),
        f"{_WAITING}::test_place_says_at_once_what_it_starts_and_on_ctrl_c_that_it_goes_on_and_what_shows_it",
    ),
    Mutation(
        "a guard in the process hides from a query what is still to come",
        Edit("temporal_saga/plan.py", " and not workflow.unsafe.is_read_only()", ""),
        "tests/replay/test_added_step.py::test_orders_of_every_mode_get_through_the_change",
    ),
    Mutation(
        "a query takes a guard that a saga has passed for one that it will pass",
        Edit("temporal_saga/plan.py", "self.patches.get(patch_id, True)", "True"),
        "tests/replay/test_added_step.py::test_orders_of_every_mode_get_through_the_change",
    ),
    Mutation(
        "an order that is rolled back is said to go on forward",
        Edit("client/to_come.py", " if _goes_back(log) else outline.stages", " if False else outline.stages"),
        f"{_COMING}::test_at_each_moment_the_log_and_the_steps_to_come_are_the_log_at_the_end[demo-hang]",
    ),
    Mutation(
        "the undo of a refused step is said to come",
        Edit("client/to_come.py", "entry is not None and entry.status is not Status.REFUSED", "entry is not None"),
        f"{_COMING}::test_at_each_moment_the_log_and_the_steps_to_come_are_the_log_at_the_end[demo-poor]",
    ),
    Mutation(
        "bulk does not say which orders it leaves parked",
        Edit("cli/tally.py", "self.parked += group.order_ids", "pass"),
        "tests/command_line/test_bulk.py::test_what_is_left_parked_is_named_with_what_tells_why",
    ),
)

MUTATIONS = (*_SECRETS, *_WORDS, *_DOCUMENTS, *_ENDS, *_TERMINAL)
