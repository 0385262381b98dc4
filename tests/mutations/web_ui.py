"""Defects of what a person on call sees: in the Web UI, in the metrics, on the desk, and before a drastic command."""

from .mutation import Edit, Mutation

_KERNEL = "tests/kernel/test_web_ui.py"
_SHOWN = "tests/end_to_end/test_web_ui.py"
_DESK = "tests/end_to_end/test_desk.py"
_LOGGED = f"{_DESK}::test_decisions_are_logged_with_who_when_what_and_why_also_of_an_order_that_has_ended"
_ASKED = f"{_DESK}::test_a_stock_or_an_account_that_falls_far_and_a_redo_of_a_whole_order_are_asked_for_first"
_PARKED = f"{_DESK}::test_a_parked_undo_is_seen_and_retried_when_the_service_is_back"
_OBSERVED = "tests/deployment/test_observability.py"
_PROMTOOL = "test_promtool_finds_no_fault_in_the_rules_and_each_alert_fires_by_its_cause_alone"

MUTATIONS = (
    Mutation(
        "the summary of an undo does not say what it undoes",
        Edit("temporal_saga/calls.py", 'f"undo of {operation.undoes.name}"', '"undo"'),
        f"{_KERNEL}::test_a_summary_names_what_an_undo_undoes_and_its_round",
    ),
    Mutation(
        "the timer of a parked call has a number instead of a summary",
        Edit("temporal_saga/waiting.py", "timeout_summary=summary", "timeout_summary=None"),
        f"{_KERNEL}::test_each_call_and_timer_of_a_parked_undo_has_its_summary",
    ),
    Mutation(
        "the timer of the deadline has a number instead of a summary",
        Edit("temporal_saga/progress.py", ', summary="deadline")', ")"),
        f"{_KERNEL}::test_the_timer_of_the_deadline_is_called_so",
    ),
    Mutation(
        "the list of the parked calls is no list in Markdown",
        Edit("temporal_saga/desk.py", ':",\n            "",\n            f"- `', ':",\n            f"- `'),
        f"{_KERNEL}::test_current_details_say_what_is_parked_and_the_command_as_markdown",
    ),
    Mutation(
        "a call that is done is still shown as parked",
        Edit(
            "temporal_saga/desk.py",
            "            case.parked = case.waiting = None\n            self._show()\n",
            "            case.parked = case.waiting = None\n",
        ),
        f"{_KERNEL}::test_current_details_say_what_is_parked_and_the_command_as_markdown",
    ),
    Mutation(
        "a rolled-back saga counts as a failure",
        Edit("temporal_saga/kernel.py", "non_retryable=True, category=benign)", "non_retryable=True)"),
        f"{_KERNEL}::test_a_rolled_back_saga_is_no_failure_to_alert_on_and_has_no_cause_beside_its_log",
        "tests/end_to_end/test_alerts.py::test_a_refused_order_is_no_failure_in_the_metrics",
    ),
    Mutation(
        "a refusal counts as a failure",
        Edit("activities/service.py", "non_retryable=True, category=category)", "non_retryable=True)"),
        "tests/end_to_end/test_alerts.py::test_a_refused_order_is_no_failure_in_the_metrics",
    ),
    Mutation(
        "a batch counts an order too that it has left to a workflow of its own",
        Edit("workflows/batch.py", "self._members.values() if member.state.is_end]", "self._members.values()]"),
        "tests/end_to_end/test_alerts.py::test_an_order_that_its_batch_has_detached_is_counted_once",
    ),
    Mutation(
        "an alert leaves out the first saga that is parked since a worker was started",
        Edit(
            "deploy/alerts.yml",
            '\n          or saga_states{state="PARKED"}\n          unless saga_states{state="PARKED"} offset 10m)',
            ")",
        ),
        f"{_OBSERVED}::{_PROMTOOL}[test rules alerts_test.yml]",
    ),
    Mutation(
        "Prometheus does not read the metrics of a worker",
        Edit("deploy/prometheus.yml", "inventory, ", ""),
        f"{_OBSERVED}::test_prometheus_reads_the_metrics_of_every_worker_and_the_mounted_rules",
    ),
    Mutation(
        "what is not parked any more keeps its number",
        Edit("recovery/parked.py", "self._shown |= since.keys()", "self._shown = {_UNKNOWN, *since}"),
        "tests/end_to_end/test_alerts.py::test_a_worker_exports_every_metric_that_the_runbook_names",
    ),
    Mutation(
        "one round of the gauges that fails is their last",
        Edit("recovery/parked.py", "except Exception as error:", "except TimeoutError as error:"),
        "tests/recovery/test_parked.py::test_a_round_of_the_gauges_that_fails_is_told_and_followed_by_the_next",
    ),
    Mutation(
        "a parked saga that is not asked counts as nothing",
        Edit("recovery/parked.py", "found[_UNKNOWN] += map(_since, runs[_ASKED:])", "pass"),
        "tests/end_to_end/test_alerts.py::test_a_worker_exports_every_metric_that_the_runbook_names",
    ),
    Mutation(
        "the end of a rolled-back order begins with a stack trace",
        Edit("runtime/encryption.py", "return exception.with_traceback(None)", "return exception"),
        f"{_SHOWN}::test_a_refusal_and_the_end_of_its_order_have_no_stack_trace",
    ),
    Mutation(
        "a participant's signals do not say what it heard",
        Edit("runtime/events.py", "start_signal=event.fact", 'start_signal="on_event"'),
        f"{_SHOWN}::test_the_events_of_a_choreography_are_signals_named_by_their_fact",
    ),
    Mutation(
        "a batch carries the best state of its orders",
        Edit("workflows/batch.py", "worst = max(states", "worst = min(states"),
        f"{_SHOWN}::test_a_batch_carries_the_worst_state_of_its_orders_and_counts_them",
    ),
    Mutation(
        "a summary has the customer and the amount although payloads are encrypted",
        Edit("runtime/summaries.py", "return client.data_converter.payload_codec is None", "return True"),
        "tests/end_to_end/test_encryption.py::"
        "test_what_the_web_ui_shows_of_an_encrypted_order_has_no_customer_and_no_amount",
    ),
    Mutation(
        "the desk does not say that nobody serves a queue",
        Edit("client/desk.py", "served[queue] = last is not None", "served[queue] = True or last is not None"),
        "tests/client/test_desk.py::test_a_call_on_a_queue_without_a_worker_is_parked_because_nobody_serves_it",
    ),
    Mutation(
        "the desk does not name the page of the Web UI",
        Edit(
            "worker.py", "partial(web_ui.keep_address, client, running.web_ui)", "partial(web_ui.parked_link, client)"
        ),
        _PARKED,
    ),
    Mutation(
        "who has asked for a retry is forgotten",
        Edit(
            "temporal_saga/workflow.py",
            '        """Try the parked `step` again now."""\n        self.observed.desk.decide(step, decision)\n',
            '        """Try the parked `step` again now."""\n        self.observed.desk.decide(step, Retry())\n',
        ),
        f"{_KERNEL}::test_a_retry_keeps_who_asked_for_it_and_why",
    ),
    Mutation(
        "decisions about orders that have ended are not among the latest",
        Edit("client/decisions.py", ' IS NOT NULL"', ' IS NOT NULL AND CloseTime IS NULL"'),
        _LOGGED,
    ),
    Mutation(
        "a stock or an account falls far without a question",
        Edit("cli/goods.py", "2 * wanted < there or wanted < bound", "False"),
        _ASKED,
    ),
    Mutation(
        "an order that the audit finds whole runs again without a question",
        Edit("cli/orders.py", "if any(violation.subject == about for violation in report.violations):", "if 1:"),
        _ASKED,
    ),
    Mutation(
        "a question is answered by a program's input",
        Edit("cli/session.py", "not (sys.stdin.isatty() and sys.stderr.isatty())", "False"),
        "tests/command_line/test_questions.py::test_without_a_terminal_the_command_refuses_in_one_line_that_names_yes",
    ),
)
