# One image for every worker and for the command line; docker-compose.yml says which one a container is.
FROM python:3.13.15-slim-trixie AS dependencies
COPY requirements.txt ./
RUN python -m venv /venv && \
    /venv/bin/pip install --no-cache-dir --require-hashes --only-binary :all: --requirement requirements.txt

FROM python:3.13.15-slim-trixie
RUN useradd --system --uid 10001 --create-home saga
COPY --from=dependencies /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /app
COPY temporal_saga temporal_saga/
COPY contracts contracts/
COPY workflows workflows/
COPY activities activities/
COPY runtime runtime/
COPY client client/
COPY recovery recovery/
COPY audit audit/
COPY cli cli/
COPY composition composition/
COPY deploy/healthcheck.py deploy/
COPY worker.py starter.py codec.py pyproject.toml ./
USER saga
STOPSIGNAL SIGTERM
# No HEALTHCHECK: a command line has no health. The workers' own, which needs METRICS_PORT, is in docker-compose.yml.
CMD ["python", "worker.py"]
