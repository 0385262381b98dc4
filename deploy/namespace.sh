#!/bin/sh
# The one-shot job `namespace`: the namespace, and the search attributes that sagas publish (saga.SEARCH_ATTRIBUTES).
# It ends when queries by them work, so no worker meets a server that does not know them. Running it again does nothing.
set -eu
RETENTION=7d # how long a closed order's history is kept: what `status` and the Web UI can still show

# At most a minute: a new namespace or attribute is known to every part of the server after its caches' next refresh.
eventually() {
    attempts=60
    until "$@" >/dev/null 2>&1; do
        attempts=$((attempts - 1))
        if [ "$attempts" -eq 0 ]; then
            "$@"
            exit 1
        fi
        sleep 1
    done
}

eventually temporal operator cluster health
temporal operator namespace describe --namespace "$TEMPORAL_NAMESPACE" >/dev/null 2>&1 ||
    temporal operator namespace create --namespace "$TEMPORAL_NAMESPACE" --retention "$RETENTION"
if [ -n "${WEB_UI:-}" ]; then # `starter.py place` prints the page of its order there
    eventually temporal operator namespace update --namespace "$TEMPORAL_NAMESPACE" --data "web_ui=$WEB_UI"
fi
eventually temporal operator search-attribute list

while read -r name type; do
    temporal operator search-attribute create --name "$name" --type "$type" </dev/null
    eventually temporal workflow count --query "$name IS NOT NULL" </dev/null
done <<'ATTRIBUTES'
SagaState Keyword
SagaErrorCode Keyword
SagaParkedSince Datetime
SagaOrder Keyword
SagaDecidedAt Datetime
ATTRIBUTES
