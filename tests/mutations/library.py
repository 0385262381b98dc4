"""Defects of what the package brings for sagas of others."""

from .mutation import Edit, Mutation

_VISIBILITY, _PLUGIN = "temporal_saga/visibility.py", "tests/kernel/test_plugin.py"
_REPLAY = "test_a_replay_leaves_out_what_was_left_out_whatever_it_knows_of_the_namespace[left out]"
_INJECTION, _VERDICT, _LEARNING = (
    "temporal_saga/testing/injection.py",
    "temporal_saga/testing/verdict.py",
    "temporal_saga/testing/learning.py",
)
_HARNESS = "tests/library/test_harness.py"
_LOG = "test_a_history_that_does_not_replay_and_a_log_with_an_open_call_are_problems"
_CAUGHT = f"{_HARNESS}::test_a_wrong_saga_is_caught_and_told_what_is_wrong"

MUTATIONS = (
    Mutation(
        "a saga writes search attributes that its namespace does not have, and hangs for ever",
        Edit(_VISIBILITY, "elif workflow.info().namespace not in _complete:", "elif False:"),
        f"{_PLUGIN}::test_a_saga_ends_in_a_namespace_without_search_attributes_and_the_log_says_how_to_get_them",
    ),
    Mutation(
        "a replay writes the search attributes that were left out",
        Edit(_VISIBILITY, "        if workflow.patched(marker):\n", "        if False:\n"),
        f"{_PLUGIN}::{_REPLAY}",
    ),
    Mutation(
        "the sandbox imports the package anew for each workflow",
        Edit("temporal_saga/plugin.py", "with_passthrough_modules(_PACKAGE)", "with_passthrough_modules()"),
        f"{_PLUGIN}::test_the_plugin_passes_the_package_through_the_sandbox_and_keeps_another_runner",
    ),
    Mutation(
        "the desk of anyone's sagas says nothing where no parked call can be found",
        Edit(
            "temporal_saga/__main__.py", "if missing := await missing_search_attributes(client):", "if missing := []:"
        ),
        "tests/kernel/test_command.py::test_a_namespace_without_search_attributes_is_said_by_the_desk",
    ),
    Mutation(
        "the harness for sagas puts no fault into a call, and takes the case for passed",
        Edit(
            _INJECTION,
            "            return await _ATTEMPTS[fault](self, delivery)\n",
            "            return await delivery()\n",
        ),
        f"{_CAUGHT}[A step has no undo]",
        f"{_CAUGHT}[A service has no fence]",
        f"{_CAUGHT}[A step is not idempotent]",
    ),
    Mutation(
        "the harness for sagas believes what a saga says of its end",
        Edit(
            _VERDICT,
            "        if self._run.end.confirmed:\n",
            "        return\n        if self._run.end.confirmed:\n",
        ),
        f"{_CAUGHT}[A step has no undo]",
        f"{_CAUGHT}[The result says booked, though all is undone]",
        f"{_CAUGHT}[`except Exception` around a step swallows its failure]",
    ),
    Mutation(
        "the harness for sagas takes a cancelled decision for an undo in the wrong order",
        Edit(_VERDICT, " and undo.target.activity not in decided", ""),
        "tests/end_to_end/test_matrix.py::test_every_step_and_undo_survives_every_fault[lost replies]",
    ),
    Mutation(
        "the late attempt of the harness for sagas never arrives",
        Edit(_LEARNING, "        for delivery in run.late:\n", "        for delivery in ():\n"),
        f"{_CAUGHT}[A service has no fence]",
    ),
    Mutation(
        "the harness for sagas passes a case in which the call of its fault was never made",
        Edit(_VERDICT, "if not self._run.injected:", "if False:"),
        f"{_HARNESS}::test_a_call_that_is_not_made_again_is_a_problem",
    ),
    Mutation(
        "the harness for sagas does not look at what an attempt changed",
        Edit(
            "temporal_saga/testing/attempts.py", "note(less(await self._snapshot(self._case_id), before))", "note({})"
        ),
        f"{_CAUGHT}[A step is not idempotent]",
    ),
    Mutation(
        "the harness for sagas lets undos run in any order",
        Edit(_VERDICT, "        yield from self._wrong_order()\n", ""),
        f"{_CAUGHT}[Undos run in the order of their steps]",
    ),
    Mutation(
        "the harness for sagas replays no history",
        Edit(_VERDICT, "        if self._run.not_replayed:\n", "        if False:\n"),
        f"{_HARNESS}::{_LOG}",
    ),
    Mutation(
        "the harness for sagas does not read the transaction log",
        Edit(_VERDICT, "        yield from self._untrue_log()\n", ""),
        f"{_HARNESS}::{_LOG}",
    ),
    Mutation(
        "pytest runs the cases of a saga and does not look at the verdict",
        Edit("temporal_saga/testing/plugin.py", "if isinstance(found, Verdict) and not found.is_good:", "if False:"),
        f"{_HARNESS}::test_pytest_runs_a_test_for_each_case_and_says_what_is_wrong",
    ),
    Mutation(
        "the clock of the test server is taken to stand until its answer has come",
        Edit(
            "temporal_saga/testing/server.py",
            "while not await _passes(server, over):",
            "while not await _passes(server, over) or not sleep.done():",
        ),
        "tests/library/test_clock.py::test_the_clock_stands_although_a_busy_machine_hears_late_that_the_server_has_slept",
    ),
    Mutation(
        "one saga without a worker hides all that is parked",
        Edit(
            "temporal_saga/__main__.py",
            "    except RPCError as error:\n        return [",
            "    except ZeroDivisionError as error:\n        return [",
        ),
        "tests/kernel/test_command.py::test_a_saga_without_a_worker_is_listed_beside_the_others",
    ),
)
