"""Defects of the messages to the outside: mail, SMS, what they say and when they are sent again; and of metrics."""

from .mutation import Edit, Mutation

_DELIVERY, _MAIL, _SMS = "activities/delivery.py", "activities/mail.py", "activities/sms.py"
_SETTINGS = "tests/deployment/test_settings.py"
_TESTS, _MAILS = "tests/services/test_delivery.py", "tests/services/test_mail.py"

MUTATIONS = (
    Mutation(
        "an option of a database that is no text ends a command with a traceback",
        Edit("runtime/settings.py", "if name not in _DATABASE_OPTIONS:", "if name.startswith('sslm'):"),
        Edit("runtime/settings.py", "_DATABASE_OPTIONS[name]\n", '_DATABASE_OPTIONS.get(name, ".*")\n'),
        f"{_SETTINGS}::test_a_malformed_setting_is_named_in_one_line_without_its_secret[an option that is no text]",
    ),
    Mutation(
        "the sweep of the compose file starts sagas that announce nothing",
        Edit("docker-compose.yml", "  EVENTS_URL: ${EVENTS_URL:-} # of `orders` too", "  # of `orders` too"),
        "tests/deployment/test_compose.py::test_whoever_starts_sagas_knows_whether_they_announce[orders]",
    ),
    Mutation(
        "the fence keeps the words of a mail server, with the address, beyond its erasure",
        Edit(
            "activities/notification.py",
            "NOTIFICATION_FAILED, _refusal_of(first)",
            "NOTIFICATION_FAILED, str(first.problem)",
        ),
        f"{_TESTS}::test_a_refused_recipient_is_a_refusal_that_is_kept[sqlite]",
    ),
    Mutation(
        "a mail whose answer is lost is sent again",
        Edit(
            _MAIL,
            'delivery.becomes(DeliveryState.IN_DOUBT, f"the mail server did not answer',
            'delivery.becomes(DeliveryState.NOT_SENT, f"the mail server did not answer',
        ),
        f"{_TESTS}::test_a_mail_whose_reply_is_lost_is_in_doubt_and_not_sent_again[sqlite]",
    ),
    Mutation(
        "a mail of a worker that was killed while it sent is sent again",
        Edit(_DELIVERY, "        if gateway is not None and gateway.drops_repeats:", "        if gateway is not None:"),
        f"{_TESTS}::test_a_worker_that_is_killed_while_it_sends_leaves_no_second_mail_and_a_second_try_of_an_sms"
        "[sqlite-mail]",
    ),
    Mutation(
        "an attempt sends what another one is sending",
        Edit(
            _DELIVERY,
            "        if any(_is_claimed(row, uow.now) for row in (*confirmations, *cancellations)):",
            "        if False:",
        ),
        Edit(
            _DELIVERY,
            "        if row.state is not DeliveryState.SENDING:\n            return row",
            "        if True:\n            return row",
        ),
        f"{_TESTS}::test_a_cancelled_attempt_does_not_stop_its_delivery[sqlite]",
    ),
    Mutation(
        "a confirmation is sent beside its cancellation",
        Edit(_DELIVERY, "        if cancellations and not notice.is_undo:", "        if False:"),
        f"{_TESTS}::test_a_confirmation_sends_nothing_while_its_undo_is_on_its_way[sqlite]",
    ),
    Mutation(
        "the SMS goes out although the mail was refused",
        Edit(_DELIVERY, "all(each.state(earlier) in _HANDED_OVER for earlier in before)", "before is not None"),
        f"{_TESTS}::test_a_refused_recipient_is_a_refusal_that_is_kept[sqlite]",
    ),
    Mutation(
        "another request gets the answer of a message that is in doubt",
        Edit(_DELIVERY, "if any(row.state in _HANDED_OVER and row.digest != wanted for row in ours):", "if False:"),
        f"{_TESTS}::test_another_request_under_the_same_key_sends_nothing[sqlite]",
    ),
    Mutation(
        "an outcome that the database did not take at once is lost",
        Edit(_DELIVERY, "                if time.monotonic() > until:", "                if True:"),
        f"{_TESTS}::test_the_outcome_of_a_delivery_is_noted_when_the_database_is_back[sqlite]",
    ),
    Mutation(
        "a server without STARTTLS gets the mail in clear text",
        Edit(_MAIL, "start_tls=server.encryption is Encryption.STARTTLS,", "start_tls=None,"),
        f"{_MAILS}::test_a_server_without_starttls_gets_no_mail_and_no_password",
    ),
    Mutation(
        "an address may be more than one recipient",
        Edit(_MAIL, "if not _DOMAIN.fullmatch(domain) or not local.isprintable() or not local:", "if not domain:"),
        f"{_MAILS}::test_an_address_that_would_say_more_than_one_recipient_is_refused[ada@example.org,eve]",
    ),
    Mutation(
        "the signature does not cover what the SMS says",
        Edit(_SMS, ".encode() + body\n", ".encode()\n"),
        "tests/services/test_sms.py::test_the_receiver_verifies_the_signature",
    ),
    Mutation(
        "the log shows the address of the webhook",
        Edit("runtime/logs.py", 'logging.getLogger("httpx").setLevel(logging.WARNING)', "pass"),
        "tests/services/test_sms.py::test_no_log_line_shows_the_address_of_the_webhook",
    ),
    Mutation(
        "a mail's page is not escaped",
        Edit("activities/mail_content.py", 'autoescape=select_autoescape(["html"])', "autoescape=False"),
        "tests/services/test_wording.py::test_a_value_is_no_markup_in_a_page",
    ),
    Mutation(
        "a password may go over the network in clear text",
        Edit(
            "contracts/gateways.py",
            "if user and server.encryption is Encryption.NONE and not _is_loopback(server.host):",
            "if False:",
        ),
        f"{_SETTINGS}::test_a_malformed_setting_is_named_in_one_line_without_its_secret[clear text]",
    ),
    Mutation(
        "metrics are served to everybody on the network",
        Edit("runtime/settings.py", '_ip_address)] = "127.0.0.1"', '_ip_address)] = "0.0.0.0"'),
        f"{_SETTINGS}::test_metrics_are_served_on_the_loopback_unless_another_address_is_given[given0-False]",
    ),
    Mutation(
        "the customer of an order that was rolled back is not told why",
        Edit("workflows/order.py", ", explained=requests.explained", ""),
        "tests/end_to_end/test_notification.py::test_a_customer_is_told_by_mail_and_sms_how_the_order_ended_and_why",
    ),
    Mutation(
        "a message is claimed without a look at the fence",
        Edit(_DELIVERY, "            if would_act(uow, records, operation, request):", "            if True:"),
        f"{_TESTS}::test_what_was_told_by_the_simulated_gateway_is_not_told_again_by_a_real_one[sqlite]",
        f"{_TESTS}::test_a_late_delivery_for_a_retired_order_sends_nothing[sqlite-confirmation]",
    ),
    Mutation(
        "a late delivery for a retired order sends its message before it is refused",
        Edit(
            _DELIVERY,
            "uow.load(tx, OperationCall(handler, requests).touches(records))",
            "uow.load(tx, (Ref(records, (each.transaction_id, operation.step)) for each in requests))",
        ),
        f"{_TESTS}::test_a_late_delivery_for_a_retired_order_sends_nothing[sqlite-confirmation]",
    ),
)
