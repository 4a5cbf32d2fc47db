# syntax=docker/dockerfile:1

# Builds a static binary and puts it, with the certificate authorities that
# https needs, into an image with nothing else: no shell, no libc, no /tmp.
#
#   docker build --build-arg VERSION=1.2.3 --build-arg REVISION=$(git rev-parse HEAD) -t raytap .
#   docker run --rm -p 9265:9265 -e RAY_API_SERVER_ADDRESS=http://ray-head:8265 raytap

FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
ARG REVISION=unknown
ARG BRANCH=unknown
RUN CGO_ENABLED=0 go build -trimpath \
    -ldflags "-s -w \
      -X github.com/prometheus/common/version.Version=${VERSION} \
      -X github.com/prometheus/common/version.Revision=${REVISION} \
      -X github.com/prometheus/common/version.Branch=${BRANCH}" \
    -o /raytap . && mkdir /state

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /raytap /raytap
COPY --from=build /src/LICENSE /LICENSE
# A new volume that is mounted here has this owner.
COPY --from=build --chown=65532:65532 /state /var/lib/raytap
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title=raytap \
      org.opencontainers.image.description="Prometheus exporter and log shipper for Ray clusters" \
      org.opencontainers.image.licenses=Apache-2.0 \
      org.opencontainers.image.version=${VERSION} \
      org.opencontainers.image.revision=${REVISION}
# By number: an empty root has no list of users, and Kubernetes checks
# runAsNonRoot by number.
USER 65532:65532
EXPOSE 9265
STOPSIGNAL SIGTERM
ENTRYPOINT ["/raytap"]
