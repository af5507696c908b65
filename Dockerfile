FROM python:3.11.14-slim-bookworm

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

# procps: operators look at memory with `docker exec relivchats-api ps aux --sort=-%mem`.
RUN apt-get update \
    && apt-get install -y --no-install-recommends procps \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 10001 relivchats \
    && useradd --system --uid 10001 --gid 10001 --no-create-home --home-dir /data relivchats \
    && install -d -o 10001 -g 10001 -m 0700 /data /keys

WORKDIR /app
COPY requirements.txt .
RUN pip install --require-hashes -r requirements.txt
COPY . .

ENV RELIVCHATS_DATA=/data
# Numeric, so that Kubernetes can check that it is not root.
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s \
    CMD ["python", "-m", "relivchats.liveness", "web", "8000"]
CMD ["python", "-m", "relivchats.serve", "web", "--host", "0.0.0.0", "--port", "8000"]
