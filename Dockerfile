# docker build -t gradprism .                              torch for the CPU
# docker build -t gradprism:cuda --build-arg TORCH=cuda .  torch with CUDA; run it with `--gpus all`
# docker run --rm -v "$PWD:/work" gradprism spectra data.jsonl --model smollm2-135m --out runs/mine
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:${PYTHON}-slim
ARG TORCH=cpu
COPY --from=build /wheels /wheels
# The package index has torch with CUDA.
RUN if [ "$TORCH" = cpu ]; then export PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu; fi \
    && pip install --no-cache-dir "$(echo /wheels/*.whl)[judge,report]" \
    && rm -r /wheels \
    && useradd --create-home --uid 1000 gradprism
USER 1000
WORKDIR /work
ENTRYPOINT ["gradprism"]
CMD ["--help"]
