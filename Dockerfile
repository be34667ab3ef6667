# One image for the API, the worker and the simulator: docker-compose.yml says which it is.
FROM python:3.13-slim
WORKDIR /app
COPY requirements.txt pyproject.toml ./
RUN pip install --no-cache-dir --require-hashes -r requirements.txt
COPY . .
RUN pip install --no-cache-dir --no-deps --no-build-isolation . && useradd --system oms
USER oms
CMD ["oms", "--help"]
