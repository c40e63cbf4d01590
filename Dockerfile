# The service and the app in one image; the command says which: `serve`, `app`, `keys`, `store`.
#
#     docker build -t persuadable .
#     docker run --rm -p 8000:8000 -v ./out/demo/bundle:/bundle:ro -v decisions:/data persuadable

FROM python:3.12-slim AS build
WORKDIR /source
RUN python -m venv /opt/persuadable
ENV PATH=/opt/persuadable/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
RUN pip install -c constraints.txt '.[cpu,service,app]'

FROM python:3.12-slim
# XGBoost's threads.
RUN apt-get update \
 && apt-get install -y --no-install-recommends libgomp1 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --home-dir /data persuadable \
 && install -d -o persuadable -g persuadable /data /cache
COPY --from=build /opt/persuadable /opt/persuadable
ENV PATH=/opt/persuadable/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    OMP_WAIT_POLICY=PASSIVE \
    NUMBA_CACHE_DIR=/cache \
    PERSUADABLE_HOST=0.0.0.0 \
    PERSUADABLE_STORE=sqlite:////data/decisions.db
USER persuadable
WORKDIR /data
VOLUME /data
EXPOSE 8000 8501
HEALTHCHECK --start-period=30s --interval=10s --timeout=3s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health/ready', timeout=2)"]
ENTRYPOINT ["persuadable"]
CMD ["serve", "/bundle"]
