# mlgate alone: no shell, no package manager, an account without rights, nothing written outside /run/mlgate and /var/lib/mlgate.
ARG RUST=rust:1.95-bookworm
FROM ${RUST} AS build
WORKDIR /src
# The program then knows its own dependencies: `cargo audit bin` and scanners of images read them out of it.
RUN cargo install --locked --root /usr/local cargo-auditable@0.7.7
COPY . .
RUN cargo auditable build --release --locked --bin mlgate \
 && config/image/root.sh target/release/mlgate /image

FROM scratch
LABEL org.opencontainers.image.title="mlgate" \
      org.opencontainers.image.description="The gate in front of MLflow: sign-in, roles and an audit trail." \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /image /
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
USER 65532:65532
EXPOSE 8080 8443 9090
ENTRYPOINT ["/usr/bin/mlgate"]
CMD ["serve", "--config", "/etc/mlgate/mlgate.toml"]
