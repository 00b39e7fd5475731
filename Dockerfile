# The program as an image. scripts/image compiles it and gathers what is copied here.
FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates libssl3 zlib1g \
 && rm -rf /var/lib/apt/lists/*
COPY dockerfiles /opt/reproduceml/dockerfiles
COPY clients/python /opt/reproduceml/clients/python
COPY data /opt/reproduceml/data
COPY reproduceml /opt/reproduceml/bin/reproduceml
# The daemon beside the image does not see its files: the program copies them into the study.
ENV REPRODUCEML_IN_IMAGE=1 \
    REPRODUCEML_HOME=/opt/reproduceml \
    PATH=/opt/reproduceml/bin:/usr/local/bin:/usr/bin:/bin
ENTRYPOINT ["reproduceml"]
CMD ["--help"]
