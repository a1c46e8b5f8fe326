# The image that every pod of configs/kubernetes runs; docs/kubernetes.md lists the parts
# that were tried. From the repository's root:
#   docker build -t facegraph:0.2.0-cpu .
#   docker build -t facegraph:0.2.0-gpu --build-arg DEVICE=gpu .
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS build
ARG DEVICE=cpu
ENV PATH=/opt/facegraph/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/facegraph
WORKDIR /src
COPY constraints.txt ./
# PyTorch's own index has a build without CUDA, a fifth of the size. pip takes it because its version
# sorts as the newer one.
RUN case "$DEVICE" in \
      cpu) pip install -c constraints.txt torch --extra-index-url https://download.pytorch.org/whl/cpu ;; \
      gpu) pip install -c constraints.txt torch ;; \
      *) echo "DEVICE is cpu or gpu, not $DEVICE" >&2; exit 1 ;; \
    esac
COPY pyproject.toml MANIFEST.in README.md LICENSE serve_config.yaml ./
COPY graph graph
COPY deployments deployments
COPY configs configs
# The default models' weights are packages among the dependencies.
RUN pip install -c constraints.txt '.[modelscope,tracing,gallery]'
RUN if [ "$DEVICE" = gpu ]; then \
      version="$(pip show onnxruntime | sed -n 's/^Version: //p')" && \
      pip uninstall --yes onnxruntime && \
      pip install "onnxruntime-gpu[cuda,cudnn]==$version"; \
    fi

FROM python:${PYTHON}-slim-bookworm
# OpenCV needs libgl1 and libglib2.0-0; KubeRay's probes call wget.
RUN apt-get update && \
    apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 wget && \
    rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/facegraph /opt/facegraph
# KubeRay may start Ray in a login shell, which makes its own PATH.
RUN echo 'PATH=/opt/facegraph/bin:$PATH' > /etc/profile.d/facegraph.sh && \
    useradd --uid 1000 --create-home facegraph && \
    install --directory --owner facegraph /var/cache/facegraph /models
# The head of a Ray cluster reports even that the usage statistics are off: here to nobody. It asks for
# the cloud's name, unless it finds a configuration of `ray up`.
RUN echo '{}' > /home/facegraph/ray_bootstrap_config.yaml
ENV PATH=/opt/facegraph/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    RAY_USAGE_STATS_ENABLED=0 \
    RAY_USAGE_STATS_REPORT_URL=http://127.0.0.1:1/ \
    FACEGRAPH_MODELS=/models \
    FACEGRAPH_OPENVINO_CACHE=/var/cache/facegraph \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 1000
WORKDIR /home/facegraph
COPY serve_config.yaml ./
EXPOSE 8000
# For a try without Kubernetes; KubeRay gives its own command. The server listens on a loopback address
# only, which a published port does not reach: share the host's network (--network host), or name
# another file, with keys.
CMD ["facegraph", "serve", "serve_config.yaml"]
