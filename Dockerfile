# Two stages: wheels and a virtual environment are made in the first; the second has Python and that environment.
ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim AS build
WORKDIR /source
# The compiler, mypyc and setuptools stay behind in this stage: setup.py compiles what every query goes through.
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/* \
    && python -m venv /opt/forebay && python -m venv /opt/compile
# The dependencies first, so that a change of our own code does not install them again.
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY proxy/version.py proxy/version.py
RUN mkdir -p protocol sql stats cache pool proxy \
    && /opt/forebay/bin/pip install --no-cache-dir --disable-pip-version-check -c constraints.txt . \
    && /opt/compile/bin/pip install --no-cache-dir --disable-pip-version-check -c constraints.txt '.[compile]' \
    && /opt/forebay/bin/pip uninstall --yes forebay \
    && rm -rf build
COPY protocol protocol
COPY sql sql
COPY stats stats
COPY cache cache
COPY pool pool
COPY proxy proxy
COPY setup.py .
RUN FOREBAY_COMPILE=1 /opt/compile/bin/pip wheel --no-build-isolation --no-deps --wheel-dir /wheels . \
    && /opt/forebay/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps /wheels/*.whl

FROM python:${PYTHON_VERSION}-slim
LABEL org.opencontainers.image.title="Forebay" \
      org.opencontainers.image.description="A PostgreSQL proxy with a pool, a cache and a clock" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --system --gid 10001 forebay \
    && useradd --system --uid 10001 --gid forebay --no-create-home --shell /usr/sbin/nologin forebay
COPY --from=build /opt/forebay /opt/forebay
# Variables win over a configuration file: give -e FOREBAY_LISTEN=... to listen elsewhere.
ENV PATH=/opt/forebay/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    FOREBAY_LISTEN=0.0.0.0:6432 \
    FOREBAY_HTTP=0.0.0.0:9432 \
    FOREBAY_LOG__FORMAT=json
USER 10001:10001
WORKDIR /etc/forebay
EXPOSE 6432 9432
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9432/healthz', timeout=2)"]
ENTRYPOINT ["forebay"]
CMD ["serve"]
