# One image for ingress, router, worker and the command line.

FROM python:3.13-slim-trixie AS build
WORKDIR /build
# Without pip: the environment holds what runs and nothing else.
RUN python -m venv --without-pip /opt/turnout
COPY requirements.lock ./
RUN pip --python /opt/turnout/bin/python install --no-cache-dir --disable-pip-version-check \
    --only-binary :all: --no-deps --require-hashes -r requirements.lock
COPY pyproject.toml README.md ./
COPY ingress ingress
COPY router router
COPY workers workers
COPY shared shared
RUN pip --python /opt/turnout/bin/python install --no-cache-dir --disable-pip-version-check \
    --no-deps .

FROM python:3.13-slim-trixie
LABEL org.opencontainers.image.title="Turnout" \
      org.opencontainers.image.description="Message-queue based trigger router: a webhook comes in, its flow runs."
# What a service writes lands in its working directory; a volume mounted there has the same owner.
RUN groupadd --system --gid 10001 turnout \
    && useradd --system --uid 10001 --gid turnout --no-create-home --home-dir /var/lib/turnout \
       --shell /usr/sbin/nologin turnout \
    && install --directory --owner turnout --group turnout --mode 0700 /var/lib/turnout
COPY --from=build /opt/turnout /opt/turnout
COPY examples /app/examples
ENV PATH=/opt/turnout/bin:$PATH PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /var/lib/turnout
STOPSIGNAL SIGTERM
ENTRYPOINT ["turnout"]
CMD ["--help"]
