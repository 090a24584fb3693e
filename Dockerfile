# A gateway:  docker build -t payonce .   Settings come as PAYONCE_ variables (docs/config.md).
FROM python:3.12-slim
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN pip install --no-cache-dir '.[gateway,redis,memcached,prices]' && rm -rf /src
WORKDIR /
USER 1000
ENV XDG_CACHE_HOME=/tmp
EXPOSE 4141
HEALTHCHECK --interval=10s --timeout=3s CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:4141/healthz', timeout=2)"]
CMD ["payonce", "serve"]
