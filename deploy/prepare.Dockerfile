# syntax=docker/dockerfile:1
# The machines that cut media, the steward, and whoever submits: no torch. Built from the top of the checkout:
#   docker build -f deploy/prepare.Dockerfile -t reelmill-prepare .
FROM debian:trixie-slim AS build

# Without versions: Debian's stable release changes by security updates only, which an image should have.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 python3-venv \
 && rm -rf /var/lib/apt/lists/* \
 && python3 -m venv /opt/reelmill

WORKDIR /src
COPY pyproject.toml README.md LICENSE deploy/constraints.txt ./
COPY pipeline pipeline
COPY workers workers
RUN /opt/reelmill/bin/pip install --no-cache-dir --constraint constraints.txt '.[prepare]'


FROM debian:trixie-slim

# ffmpeg and the sandbox that it runs in come from Debian, which mends them.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 ffmpeg bubblewrap ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --user-group --no-create-home --home-dir /cache --shell /usr/sbin/nologin reelmill \
 && install -d -o reelmill -g reelmill -m 0700 /cache /cache/tmp

COPY --from=build /opt/reelmill /opt/reelmill

# Media is fetched to /cache. Temporary files lie there, too, so that a picture is linked to where its reader sees it.
ENV PATH=/opt/reelmill/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    HOME=/cache \
    TMPDIR=/cache/tmp \
    REELMILL_WORKERS__CACHE_DIR=/cache/media

USER 10001:10001
WORKDIR /cache
CMD ["python", "-m", "workers", "prepare"]
