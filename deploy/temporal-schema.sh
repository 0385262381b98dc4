#!/bin/sh
# The one-shot job `temporal-schema`: Temporal's tables, at the version of this image. The SQL_* variables say where.
# Running it again does nothing; running the next release's image upgrades.
set -eu

schema() {
    temporal-sql-tool --database "$1" setup-schema -v 0.0
    temporal-sql-tool --database "$1" update-schema -d "/etc/temporal/schema/postgresql/v12/$2/versioned"
}

schema temporal temporal
schema temporal_visibility visibility
