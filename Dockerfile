# One static binary on nothing: no shell, no package manager, no writable file.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=unknown
RUN CGO_ENABLED=0 go build -trimpath -tags grpcnotrace -ldflags "-s -w -X main.version=${VERSION}" -o /out/usr/local/bin/ ./cmd/outrigger ./cmd/outrigger-init \
 && ln -s outrigger /out/usr/local/bin/pilot-agent \
 && mkdir -p /out/etc/istio/proxy /out/var/lib/istio/data /out/etc/ssl/certs \
 && echo 'root:x:0:0:root:/:/sbin/nologin' > /out/etc/passwd \
 && echo 'istio-proxy:x:1337:1337:istio-proxy:/:/sbin/nologin' >> /out/etc/passwd \
 && echo 'istio-proxy:x:1337:' > /out/etc/group \
 && cp /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/ \
 && chown 1337:1337 /out/etc/istio/proxy /out/var/lib/istio/data

FROM scratch
COPY --from=build /out/ /
ENV PATH=/usr/local/bin
USER 1337:1337
ENTRYPOINT ["/usr/local/bin/pilot-agent"]
