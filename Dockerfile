# The service in one image: make image (CPU), make image-gpu.
#
# A plain Dockerfile and not `bentoml containerize`: it is smaller (no build tools, pip caches or copies of the Bento), takes
# the CPU's runtime where there is no GPU, fixes the user and the one process, and builds with any builder.
# It has no `# syntax=` line and no cache mounts, so that the classic builder takes it too.
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS packages
# cpu: onnxruntime. gpu: onnxruntime-gpu with CUDA and cuDNN from their own wheels.
ARG RUNTIME=cpu
# 1: with Ray and object stores, for `python -m jobs`.
ARG JOBS=0
COPY requirements/ /requirements/
RUN set -eu; cd /requirements; \
    python -m venv --without-pip /opt/venv; \
    case "$RUNTIME" in \
    cpu) sed -e '/^onnxruntime-gpu==/d' -e 's/^\(onnxruntime==[^;]*\);.*/\1/' serve.txt >image.txt ;; \
    gpu) cat serve.txt serve-gpu.txt >image.txt ;; \
    *) echo "RUNTIME: expected cpu or gpu, found $RUNTIME" >&2; exit 1 ;; \
    esac; \
    if [ "$JOBS" = 1 ]; then cat jobs.txt; else cat serve-options.txt; fi >>image.txt; \
    pip --python /opt/venv/bin/python install --no-cache-dir --disable-pip-version-check --only-binary :all: -r image.txt

FROM ${PYTHON_IMAGE}
# A volume that is mounted at /batches is its user's when it is made; nothing is written there without AMOSTRA_BATCH_DIR.
RUN useradd --uid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin amostra \
    && install -d -o 10001 -g 10001 -m 0700 /batches
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    AMOSTRA_MODELS=/models \
    BENTOML_DO_NOT_TRACK=True
WORKDIR /app
COPY --from=packages /opt/venv /opt/venv
COPY exported/ /models/
COPY contract/ contract/
COPY service/ service/
COPY jobs/ jobs/
RUN python -m compileall -q contract jobs service
USER 10001:10001
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=8s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:3000/readyz', timeout=5)"]
ENTRYPOINT ["python", "-m", "service", "--host", "0.0.0.0"]
