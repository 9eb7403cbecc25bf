# syntax=docker/dockerfile:1
# The machines with a GPU. torch brings CUDA; the host brings the driver and the NVIDIA Container Toolkit.
# Built from the top of the checkout:
#   docker build -f deploy/infer.Dockerfile -t reelmill-infer .
FROM debian:trixie-slim AS build

# Without versions: Debian's stable release changes by security updates only, which an image should have.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 python3-venv \
 && rm -rf /var/lib/apt/lists/* \
 && python3 -m venv /opt/reelmill

# A pair that fits together, as in the Makefile; a layer of its own, so that a change of reelmill does not fetch it anew.
RUN /opt/reelmill/bin/pip install --no-cache-dir torch==2.14.1 torchvision==0.29.1

WORKDIR /src
COPY pyproject.toml README.md LICENSE deploy/constraints.txt ./
COPY pipeline pipeline
COPY workers workers
RUN /opt/reelmill/bin/pip install --no-cache-dir --constraint constraints.txt '.[gemma]'


FROM debian:trixie-slim

# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --user-group --no-create-home --home-dir /models --shell /usr/sbin/nologin reelmill \
 && install -d -o reelmill -g reelmill -m 0700 /models

COPY --from=build /opt/reelmill /opt/reelmill

# Weights of a hub are kept in /models. What librosa compiles goes to /tmp: the image itself is not written to.
ENV PATH=/opt/reelmill/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    HOME=/models \
    HF_HOME=/models/huggingface \
    NUMBA_CACHE_DIR=/tmp/numba \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

USER 10001:10001
WORKDIR /models
CMD ["python", "-m", "workers", "infer"]
