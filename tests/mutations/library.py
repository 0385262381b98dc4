"""Defects of what the package brings for sagas of others."""

from __future__ import annotations

from .mutation import Edit, Mutation

_VISIBILITY, _PLUGIN = "temporal_saga/visibility.py", "tests/kernel/test_plugin.py"
_REPLAY = "test_a_replay_leaves_out_what_was_left_out_whatever_it_knows_of_the_namespace[left out]"

LIBRARY = (
    Mutation(
        "a saga writes search attributes that its namespace does not have, and hangs for ever",
        (Edit(_VISIBILITY, "elif workflow.info().namespace not in _complete:", "elif False:"),),
        (f"{_PLUGIN}::test_a_saga_ends_in_a_namespace_without_search_attributes_and_the_log_says_how_to_get_them",),
    ),
    Mutation(
        "a replay writes the search attributes that were left out",
        (Edit(_VISIBILITY, "        if workflow.patched(marker):\n", "        if False:\n"),),
        (f"{_PLUGIN}::{_REPLAY}",),
    ),
    Mutation(
        "the sandbox imports the package anew for each workflow",
        (Edit("temporal_saga/plugin.py", "with_passthrough_modules(_PACKAGE)", "with_passthrough_modules()"),),
        (f"{_PLUGIN}::test_the_plugin_passes_the_package_through_the_sandbox_and_keeps_another_runner",),
    ),
    Mutation(
        "the desk of anyone's sagas says nothing where no parked call can be found",
        (
            Edit(
                "temporal_saga/__main__.py",
                "if missing := await missing_search_attributes(client):",
                "if missing := []:",
            ),
        ),
        ("tests/kernel/test_command.py::test_a_namespace_without_search_attributes_is_said_by_the_desk",),
    ),
)
