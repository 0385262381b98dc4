"""Defects of the services' connections and files, and of how a worker starts on them."""

from .mutation import Edit, Mutation

_POSTGRESQL, _SQLITE, _GROUP = "activities/postgresql.py", "activities/sqlite.py", "activities/group_commit.py"
_OPENING, _BINDING = "activities/opening.py", "activities/binding.py"
_READINESS, _STOPPING = "runtime/readiness.py", "runtime/stopping.py"
_SILENCE, _FILES = "tests/services/test_silence.py", "tests/services/test_files.py"
_GROUPS, _BOUND, _START = (
    "tests/services/test_group_commit.py",
    "tests/services/test_binding.py",
    "tests/end_to_end/test_start.py",
)
_STATE = f"{_START}::test_a_system_keeps_its_state_in_a_folder_of_any_name_and_starts_with_no_other_state"

_SILENT = (
    Mutation(
        "a restart looks at the ports before the server of its killed predecessor has ended",
        Edit(
            "runtime/embedded.py",
            "        await _require_alone(log, data)  # before the ports",
            "        [_require_free(taken) for taken in (port, ui_port)]\n"
            "        await _require_alone(log, data)  # before the ports",
        ),
        f"{_START}::test_a_restart_waits_for_the_server_of_a_killed_parent_which_still_holds_its_port",
    ),
    Mutation(
        "a server that loses the port it has chosen is not started again",
        Edit("runtime/embedded.py", "_STARTS = 3", "_STARTS = 1"),
        f"{_START}::test_a_server_that_finds_a_port_of_its_own_choice_taken_is_started_again",
    ),
    Mutation(
        "a worker that starts while another writes into a new file does not wait",
        Edit(_SQLITE, "        _switch_to_wal(cursor)\n", '        cursor.execute("PRAGMA journal_mode=WAL")\n'),
        "tests/services/test_files.py::test_a_worker_waits_for_another_that_writes_into_a_new_file",
    ),
    Mutation(
        "a call gives up its place in the pool before its transaction has no more time",
        Edit(_POSTGRESQL, "max_overflow=0,", "max_overflow=0, pool_timeout=1,"),
        f"{_SILENCE}::test_a_call_that_waits_for_a_connection_of_the_pool_is_one_without_an_answer",
    ),
    Mutation(
        "a transaction on a half-open connection is waited for without a bound",
        Edit(_POSTGRESQL, "TRANSACTION_TIMEOUT_S = 4\n", "TRANSACTION_TIMEOUT_S = 3_600\n"),
        f"{_SILENCE}::test_a_service_goes_on_over_new_connections_after_one_attempt",
    ),
    Mutation(
        "a step gives up while the server restarts",
        Edit(_POSTGRESQL, "RESTART_S = 2\n", "RESTART_S = 0\n"),
        f"{_SILENCE}::test_a_server_that_starts_again_is_waited_for",
    ),
    Mutation(
        "only the connection that kept a transaction waiting is closed, not the idle ones beside it",
        Edit(_POSTGRESQL, "            self._give_up()\n        elif", "            running.cancel()\n        elif"),
        f"{_SILENCE}::test_a_service_goes_on_over_new_connections_after_one_attempt",
    ),
    Mutation(
        "dispose ends connections politely, and waits for a server that does not answer",
        Edit(_POSTGRESQL, "        self._give_up()\n        await self._engine", "        await self._engine"),
        f"{_SILENCE}::test_dispose_ends_although_every_connection_is_silent",
    ),
    Mutation(
        "the server keeps the locks of a half-open connection",
        Edit(_POSTGRESQL, '            "idle_in_transaction_session_timeout": self._idle_ms,\n', ""),
        f"{_SILENCE}::test_the_locks_of_a_silent_transaction_are_free_for_later_attempts",
    ),
    Mutation(
        "the server lets a statement wait for a row for as long as it is locked",
        Edit(_POSTGRESQL, '            "lock_timeout": _LOCK_TIMEOUT_MS,\n', ""),
        f"{_SILENCE}::test_a_locked_row_is_the_servers_error_and_keeps_the_connections",
    ),
    Mutation(
        "a connection is opened without a bound",
        Edit(
            _POSTGRESQL,
            '            connect_args={"timeout": CONNECT_TIMEOUT_S},\n        )\n        self.sync_engine',
            "        )\n        self.sync_engine",
        ),
        f"{_SILENCE}::test_a_server_that_accepts_and_says_nothing_is_given_up",
    ),
    Mutation(
        "the audit waits for a half-open connection without a bound",
        Edit(_POSTGRESQL, ', "command_timeout": READ_TIMEOUT_S', ""),
        f"{_SILENCE}::test_a_reader_whose_connection_falls_silent_ends",
    ),
    Mutation(
        "callers that stopped waiting stay in the queue of the group commit",
        Edit(_GROUP, "[each for each in submitted if not each.result.done()]", "list(submitted)"),
        f"{_GROUPS}::test_a_caller_that_stops_waiting_before_its_group_is_formed_leaves_the_queue",
    ),
    Mutation(
        "a database that goes down is asked once for each item that is tried alone",
        Edit(_GROUP, "if error is not None and self._is_shared(error):", "if False:"),
        f"{_GROUPS}::test_a_database_that_goes_down_while_items_are_tried_alone_is_not_tried_for_each",
    ),
)

_OWNED = (
    Mutation(
        "a worker works on the databases of another Temporal",
        Edit(_BINDING, "there.namespace_id != here.namespace_id", "False"),
        f"{_BOUND}::test_a_database_is_bound_to_the_first_temporal_and_refused_to_another[sqlite]",
    ),
    Mutation(
        "each worker binds a database anew",
        Edit(_BINDING, "adopted if adopt else insert.on_conflict_do_nothing()", "adopted"),
        f"{_BOUND}::test_a_database_is_bound_to_the_first_temporal_and_refused_to_another[postgresql]",
        f"{_BOUND}::test_a_database_is_bound_to_the_first_temporal_and_refused_to_another[sqlite]",
    ),
    Mutation(
        "the audit compares the orders of one Temporal with the databases of another",
        Edit("audit/run.py", "            if here is not None:\n", "            if False:\n"),
        _STATE,
    ),
    Mutation(
        "a database that is lost is made anew beside those that are in use",
        Edit(_OPENING, "            if has_worked:\n", "            if False:\n"),
        f"{_FILES}::test_a_file_that_is_missing_beside_one_that_was_in_use_is_not_made_anew",
    ),
    Mutation(
        "databases that are all lost are made anew under a Temporal that knows their orders",
        Edit(_OPENING, "if await self.has_orders():", "if False:"),
        f"{_FILES}::test_files_that_are_all_missing_where_temporal_knows_orders_are_not_made_anew",
    ),
)

_FILE = (
    Mutation(
        "an error of SQLite's own driver is not known as one of a database",
        Edit(_SQLITE, "            except sqlite3.Error as error:", "            except ZeroDivisionError as error:"),
        "tests/services/test_errors.py::test_a_full_disk_leaves_the_books_as_they_were",
    ),
    Mutation(
        "a file that was deleted while it was open is written to",
        Edit(_SQLITE, "        self._require_its_file()\n        connection", "        connection"),
        f"{_FILES}::test_a_file_that_is_deleted_while_it_is_open_is_not_written_to",
        f"{_FILES}::test_a_file_that_is_replaced_while_it_is_open_is_not_written_to",
    ),
    Mutation(
        "the signs of a URI in a folder's name lead to another file",
        Edit(_SQLITE, "quote(str(file))", "str(file)"),
        f"{_FILES}::test_writer_and_reader_open_the_same_file_whatever_its_folder_is_called[my%20data]",
    ),
    Mutation(
        "the server takes the signs of a URI in its folder's name for a URI",
        Edit(
            "runtime/embedded.py",
            "_start(_command(port, ui_port, codec),",
            "_start(_command(port, ui_port, codec, data),",
        ),
        Edit("runtime/embedded.py", "codec: str | None) -> list[str]:", "codec: str | None, data: Path) -> list[str]:"),
        Edit("runtime/embedded.py", '"--db-filename", "temporal.db"', '"--db-filename", str(data / "temporal.db")'),
        _STATE,
    ),
    Mutation(
        "any transaction makes a file that is missing",
        Edit(_SQLITE, '_at(url, mode="rw")', '_at(url, mode="rwc")'),
        f"{_FILES}::test_only_a_migration_makes_a_file",
    ),
    Mutation(
        "a database that is locked is told as one that is elsewhere",
        Edit("activities/database.py", '("55P03", "57014", "SQLITE_BUSY")', "()"),
        "tests/recovery/test_tolerance.py::test_an_audit_of_a_locked_database_does_not_advise_to_look_for_another",
        f"{_SILENCE}::test_a_locked_row_is_the_servers_error_and_keeps_the_connections",
    ),
    Mutation(
        "a file that cannot be read leaves its driver's thread behind",
        Edit(_SQLITE, '    event.listen(engine.sync_engine, "do_connect", _require_that_it_opens)\n', ""),
        f"{_FILES}::test_a_file_that_cannot_be_read_leaves_no_thread_behind",
    ),
)

_STARTS = (
    Mutation(
        "a worker gives up when Temporal is busy at its start",
        Edit(_READINESS, "            if error.status not in _BUSY:\n                raise\n", "            raise\n"),
        f"{_START}::test_a_temporal_that_is_busy_is_asked_again_and_an_answer_is_taken",
    ),
    Mutation(
        "a worker looks for itself at the first partition of its queue alone",
        Edit("runtime/pollers.py", "return [*first.pollers, *(", "return [*first.pollers] or [*("),
        f"{_START}::test_a_worker_is_ready_whichever_partition_of_its_queue_it_polls",
    ),
    Mutation(
        "a worker waits for its pollers and does not say so",
        Edit(_READINESS, ">= SAY_EVERY_S:", ">= 3_600:"),
        f"{_START}::test_a_worker_waits_for_its_pollers_and_says_which_are_missing",
    ),
    Mutation(
        "a worker that starts does not hear SIGTERM",
        Edit(_STOPPING, "            self._starting.cancel()\n", "            pass\n"),
        f"{_START}::test_a_signal_ends_a_start_that_waits_for_ever",
    ),
    Mutation(
        "the embedded system is filled through the faults that are injected",
        Edit("worker.py", "await seed_through(services)", "await seed(partial(execute, client))"),
        Edit(
            "worker.py",
            "from runtime.readiness import until_answered\n",
            "from runtime.execute import execute\nfrom runtime.readiness import until_answered\n"
            "from runtime.seed import seed\n",
        ),
        _STATE,
    ),
)

_LOCKS = (
    Mutation(
        "SQLite takes its write lock only when a transaction writes",
        Edit("activities/sqlite.py", 'sql("BEGIN IMMEDIATE")', 'sql("BEGIN")'),
        "tests/services/test_concurrency.py::test_fifty_orders_for_the_last_unit_from_four_processes[sqlite]",
    ),
)

MUTATIONS = (*_SILENT, *_OWNED, *_FILE, *_STARTS, *_LOCKS)
"""Defects of connections, files and starts."""
