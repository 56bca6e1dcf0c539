#!/bin/sh
# Builds both images with docker or buildah, and tells the next step: `make images`.
# REGISTRY: where to push them to, like ghcr.io/acme. TAG: the version, if not named.
# PIP_CONF, CA: this machine's pip configuration and its own certificate authorities, where it needs them to reach a
# package index; the build sees them, the images do not hold them.
set -eu
cd "$(dirname "$0")/.."

version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
tag=${TAG:-$version}
registry=${REGISTRY:-}
registry=${registry%/}
prefix=${registry:+$registry/}modelpool

if docker info >/dev/null 2>&1; then
  builder=docker
elif command -v buildah >/dev/null; then
  builder=buildah
else
  echo "make images needs docker with a running daemon, or buildah: apt-get install buildah" >&2
  exit 1
fi

set --
[ "$builder" = docker ] || set -- --layers  # as docker does: what the two have in common is made and pulled once
for conf in "${PIP_CONF:-}" "${PIP_CONFIG_FILE:-}" "$HOME/.config/pip/pip.conf" "$HOME/.pip/pip.conf" /etc/pip.conf; do
  if [ -f "$conf" ]; then set -- "$@" --secret "id=pip,src=$conf"; break; fi
done
for authorities in "${CA:-}" "${PIP_CERT:-}" "${SSL_CERT_FILE:-}"; do
  if [ -f "$authorities" ]; then set -- "$@" --secret "id=ca,src=$authorities"; break; fi
done

for name in operator sidecar; do
  echo "Building $prefix-$name:$tag with $builder"
  "$builder" build "$@" --build-arg "VERSION=$tag" -f "$name/Dockerfile" -t "$prefix-$name:$tag" .
done

install="helm install modelpool charts/modelpool -n modelpool-system --create-namespace"
[ "$tag" = "$version" ] || install="$install --set image.tag=$tag"
echo
echo "Next:"
if [ -n "$registry" ]; then
  for name in operator sidecar; do echo "  $builder push $prefix-$name:$tag"; done
  install="$install --set image.registry=$registry"
elif [ "$builder" = docker ]; then
  echo "  kind load docker-image $prefix-operator:$tag $prefix-sidecar:$tag"
else
  for name in operator sidecar; do
    echo "  buildah push $prefix-$name:$tag docker-archive:$name.tar:docker.io/library/$prefix-$name:$tag"
    echo "  kind load image-archive $name.tar"
  done
fi
echo "  $install"
