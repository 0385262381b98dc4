"""Defects of encryption: its keys, and the codec server that decrypts for people."""

from .mutation import Edit, Mutation

_CODEC, _SERVER = "runtime/encryption.py", "runtime/codec_server.py"
_KEYS, _TESTS = "tests/encryption/test_keys.py", "tests/encryption/test_codec_server.py"

MUTATIONS = (
    Mutation(
        "the last key of the list encrypts, which not every process has yet",
        Edit(_CODEC, "next(iter(self._ciphers))", "next(reversed(self._ciphers))"),
        f"{_KEYS}::test_the_first_key_encrypts_and_every_key_decrypts",
    ),
    Mutation(
        "the codec server answers every page that a browser shows",
        Edit(_SERVER, "if origin is not None and origin in self.origins:", "if origin is not None:"),
        Edit(_SERVER, "if origin is not None and origin not in self.origins:", "if False:"),
        f"{_TESTS}::test_only_the_origin_of_the_web_ui_is_answered_and_named",
    ),
    Mutation(
        "the codec server takes a wrong token",
        Edit(_SERVER, "if self.token is not None and not hmac.", "if self.token is None and not hmac."),
        f"{_TESTS}::test_a_missing_or_wrong_token_is_refused_also_for_the_web_ui[None]",
    ),
    Mutation(
        "the codec server without a token listens on every address",
        Edit(_SERVER, "if self.token is None and not is_loopback:", "if self.token is None and is_loopback is None:"),
        f"{_TESTS}::test_without_a_token_it_listens_on_the_loopback_only",
    ),
    Mutation(
        "the codec server takes a request of any size",
        Edit(_SERVER, "if len(body) > _MAX_BODY_BYTES:", "if len(body) < 0:"),
        f"{_TESTS}::test_a_request_that_is_too_large_is_refused_with_an_answer",
    ),
    Mutation(
        "the codec server answers HEAD with a body, which HTTP forbids",
        Edit(_SERVER, "[] if self._is_head else ", ""),
        f"{_TESTS}::test_there_is_nothing_else",
    ),
    Mutation(
        "the codec server waits for ever for a request that does not come",
        Edit(_SERVER, "asyncio.timeout(_TIMEOUT_S)", "asyncio.timeout(_TIMEOUT_S + 60)"),
        f"{_TESTS}::test_a_client_that_says_nothing_or_something_else_is_let_go",
    ),
    Mutation(
        "the embedded Web UI is not told of its codec server",
        Edit("runtime/embedded.py", "codec] if codec else []", 'codec] if codec == "" else []'),
        "tests/end_to_end/test_encryption.py"
        "::test_the_cli_and_the_web_ui_read_with_the_codec_what_is_unreadable_without_it",
    ),
)
