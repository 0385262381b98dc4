"""Defects of the command line: its start, its words, the picture, the list and the doctor."""

from .mutation import Edit, Mutation

_DOCTOR = "tests/command_line/test_doctor.py"
_DRAWN = "tests/docs/test_drawn.py::test_what_a_document_draws_of_the_process_is_drawn_from_the_code"
_GRAPH = "tests/command_line/test_graph.py"
_HABITS = "tests/command_line/test_habits.py"
_LIST = "tests/command_line/test_list.py"

MUTATIONS = (
    Mutation(
        "`--help` imports all that the commands need",
        Edit("starter.py", "from cli.lazy import group_of\n", "import cli.orders\nfrom cli.lazy import group_of\n"),
        f"{_HABITS}::test_help_and_version_import_neither_temporal_nor_a_database[-h]",
    ),
    Mutation(
        "each command builds the validators of all messages",
        Edit("contracts/message.py", ", defer_build=True", ""),
        f"{_HABITS}::test_a_command_imports_and_builds_only_what_it_needs[orders]",
    ),
    Mutation(
        "an audit imports what migrates",
        Edit("activities/database.py", "from sqlalchemy import ", "import alembic.command\nfrom sqlalchemy import "),
        f"{_HABITS}::test_a_command_imports_and_builds_only_what_it_needs[audit]",
    ),
    Mutation(
        "a negative number is taken for an option",
        Edit("runtime/usage.py", "_NEGATIVE.match(option)", "option is None"),
        f"{_HABITS}::test_a_negative_number_is_not_taken_for_an_option",
    ),
    Mutation(
        "a choice that is nearly right is refused without a hint",
        Edit("runtime/usage.py", "        message += choice_meant(", "        choice_meant("),
        f"{_HABITS}::test_a_word_that_is_nearly_right_is_answered_with_the_right_one[a choice]",
    ),
    Mutation(
        "a document's problem is told in pydantic's words",
        Edit("contracts/problems.py", '_IN_WORDS.get(problem["type"])', "None"),
        f"{_HABITS}::test_a_choice_in_a_document_is_told_with_what_was_meant",
    ),
    Mutation(
        "a transaction given to `place` is taken for an order without fields",
        Edit("cli/documents.py", "_of_another_command(model, document) or ", ""),
        f"{_HABITS}::test_a_document_of_another_command_is_recognised",
    ),
    Mutation(
        "the process changes, and what the documents draw of it does not",
        Edit("workflows/order.py", "        saga.finish(shipping.dispatch, requests.shipment),\n", ""),
        f"{_DRAWN}[README.md]",
        f"{_DRAWN}[docs/order.svg]",
        f"{_DRAWN}[docs/choreography.md]",
    ),
    Mutation(
        "the picture draws the rollback in the order of the steps",
        Edit("cli/picture.py", "drawing.join(later, earlier, ", "drawing.join(earlier, later, "),
        f"{_GRAPH}::test_a_rollback_is_drawn_against_the_order_of_the_steps_and_ends_with_its_last_call",
    ),
    Mutation(
        "the picture shows the first of two entries of a call",
        Edit("cli/picture.py", "found[-1] if found", "found[0] if found"),
        f"{_GRAPH}::test_of_a_call_that_was_made_again_the_last_entry_is_shown",
    ),
    Mutation(
        "the picture cannot be drawn of a process that has changed",
        Edit("temporal_saga/plan.py", "if workflow.in_workflow() and not workflow", "if not workflow"),
        f"{_GRAPH}::test_a_step_that_a_later_build_has_added_behind_a_guard_is_drawn",
    ),
    Mutation(
        "names from a document are written into a picture as they are",
        Edit("cli/svg.py", "escape(visible(text))", "visible(text)"),
        f"{_GRAPH}::test_what_a_document_says_breaks_neither_form",
    ),
    Mutation(
        "what is parked is listed between the others",
        Edit("client/listing.py", "key=lambda row: not row.is_parked", "key=lambda row: False"),
        f"{_LIST}::test_what_is_parked_comes_first_and_then_the_newest",
    ),
    Mutation(
        "a check of the doctor waits as long as the server likes",
        Edit("client/health.py", "await asyncio.wait_for(look(), TIMEOUT_S)", "await look()"),
        f"{_DOCTOR}::test_each_check_has_a_limit_of_its_own",
    ),
    Mutation(
        "the doctor overlooks a database of another Temporal",
        Edit("audit/databases.py", "require_same(await bound_to(connection), here)", "await bound_to(connection)"),
        f"{_DOCTOR}::test_a_database_of_another_build_or_another_temporal_is_a_fault_with_its_mend[another Temporal]",
    ),
    Mutation(
        "the doctor overlooks a clock that differs",
        Edit("client/health.py", "if ahead <= MAX_CLOCK_DIFFERENCE:", "if True:"),
        f"{_DOCTOR}::test_a_clock_that_differs_is_a_fault_from_five_seconds_on[ahead]",
    ),
    Mutation(
        "the doctor takes a server that is away for any other fault",
        Edit("cli/doctor.py", "if any(check.unreachable for check in checks):", "if not checks:"),
        f"{_DOCTOR}::test_a_server_that_is_not_there_is_a_fault_with_exit_code_3",
    ),
)
