"""Exits 0 if the worker beside it runs its pollers, by the worker's own metrics; `docker-compose.yml` asks every 10 s.

It says that this process is up and its pollers run, not that Temporal answers them: a worker outlives an outage of the
server, and restarting it would not help. It imports nothing of the project, so asking costs 50 ms, not a second.
"""

import os
import re
import sys
from urllib.request import urlopen

_POLLERS = re.compile(r"^temporal_num_pollers\{.*\} [1-9]", re.MULTILINE)


def main() -> str | None:
    url = f"http://127.0.0.1:{os.environ['METRICS_PORT']}/metrics"
    try:
        with urlopen(url, timeout=2) as page:
            metrics = page.read().decode()
    except OSError as error:
        return f"no metrics at {url}: {error}"
    return None if _POLLERS.search(metrics) else f"no poller runs, say the metrics at {url}"


if __name__ == "__main__":
    sys.exit(main())
