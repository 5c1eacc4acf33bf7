# mlgate: every target says in one line what it does; `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.PHONY: help demo test lint deny bench docs image sbom chart kubernetes

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 10

demo: ## run a real MLflow with samples and mlgate in front of it at http://localhost:8080 (PROVIDER=ldap, keycloak or saml: with one of its own)
	@config/demo/run.sh

test: ## install what is missing and run every test
	@integration-tests/setup.sh redis nginx ingress browser mlflow-3.18 mlflow-3.5 mlflow-2.22 node keycloak simplesaml saml slapd samba cargo-deny basic-auth helm kubernetes kube-score
	@$(MAKE) --no-print-directory lint deny
	cargo test --locked
	@cat target/ingress/*

lint: ## formatting and clippy, warnings refused
	cargo fmt --check
	@echo "format ok"
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --no-default-features --features cli -- -D warnings
	@echo "clippy ok"

deny: ## licences, bans and advisories of all dependencies
	@integration-tests/setup.sh cargo-deny
	@integration-tests/deny.sh

bench: ## mlgate and its rivals side by side; ONLY="proxied bodies checks sessions rivals lists decision" for some of them
	@integration-tests/setup.sh nginx mlflow-3.18 mlflow-2.22 oauth2-proxy mlflow-oidc-auth h2load
	@cargo build --release --locked --quiet --bin mlgate
	@python3 benches/bench.py $(ONLY)

docs: ## the book is plain Markdown in docs/; this builds the program's own documentation
	cargo doc --locked --no-deps

image: ## the container image mlgate:VERSION, by docker, podman or buildah, whichever is there (BUILDER=…, RUST=another image of the compiler)
	@for builder in $(or $(BUILDER),docker podman buildah); do $$builder info >/dev/null 2>&1 && break; builder=; done; \
	[ -n "$$builder" ] || { echo "no builder answers: docker (with its engine), podman or buildah" >&2; exit 1; }; \
	$$builder build $(if $(RUST),--build-arg RUST=$(RUST)) --tag mlgate:$$(sed -nE 's/^version = "(.*)"/\1/p' Cargo.toml) .

sbom: ## what the program is made of, as CycloneDX: target/mlgate.cdx.json
	@integration-tests/setup.sh cargo-cyclonedx
	@PATH="$$PATH:$$PWD/target/parts/cargo/bin" cargo cyclonedx --format json --spec-version 1.5 --override-filename mlgate.cdx
	@mv mlgate.cdx.json target/mlgate.cdx.json

chart: ## the Helm chart, linted and packed into target/chart
	@integration-tests/setup.sh helm
	@for helm in helm-3 helm-4; do target/parts/helm/$$helm lint --strict --quiet charts/mlgate --values integration-tests/support/chart/base.yaml || exit 1; done
	@mkdir -p target/chart
	@target/parts/helm/helm-4 package charts/mlgate --destination target/chart

kubernetes: ## the image by buildah, and the chart on a real Kubernetes API server, which this builds (once, a quarter of an hour)
	@integration-tests/setup.sh helm kubernetes kube-apiserver ingress mlflow-3.18 cargo-auditable buildah
	@integration-tests/chart_cluster.sh
	@PATH="$$PATH:$$PWD/target/parts/cargo/bin" cargo auditable build --release --locked --quiet --bin mlgate
	@integration-tests/traefik_cluster.sh target/release/mlgate
	@integration-tests/image.sh target/release/mlgate
