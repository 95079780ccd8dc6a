# The pipeline and the MLflow page in a container; docs/container.md has the commands.
FROM python:3.12-slim

RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home pipeline \
    && install -d -o pipeline -g pipeline /pipeline
USER pipeline
WORKDIR /pipeline

# The environment first, so that a change of the code does not build it again.
COPY --chown=pipeline:pipeline Makefile requirements.txt requirements-dev.txt ./
COPY --chown=pipeline:pipeline tools/find_python.sh tools/
RUN make install && rm -rf ~/.cache/pip

# With .git: DVC needs the repository, and runs record the commit.
COPY --chown=pipeline:pipeline . .
# The copies are newer than the environment, which make would build again.
RUN touch .venv/installed-requirements.txt

# Without this, `make ui` answers inside the container alone.
ENV MLFLOW_HOST=0.0.0.0
EXPOSE 5000
CMD ["make", "repro", "ui"]
