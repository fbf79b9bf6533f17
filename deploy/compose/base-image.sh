#!/usr/bin/env bash
# Makes the image krake-base:bookworm, a minimal Debian 12, from the Debian mirror that this machine uses: for machines
# that reach no image registry. As root, with debootstrap. Does nothing if the image is there.
set -euo pipefail
image=krake-base:bookworm
docker image inspect "$image" >/dev/null 2>&1 && exit 0
command -v debootstrap >/dev/null || { echo "debootstrap is missing. Debian: apt-get install debootstrap" >&2; exit 1; }

root=$(mktemp -d)
trap 'rm -rf --one-file-system "$root"' EXIT
mirror=$(apt-get indextargets --format '$(ORIGIN)|$(SITE)|$(COMPONENT)' 'Created-By: Packages' |
  awk -F'|' '$1 == "Debian" && $3 == "main" && $2 !~ /security/ { print $2; exit }')
[ -n "$mirror" ] || { echo "apt knows no Debian mirror: run apt-get update" >&2; exit 1; }
echo "making $image from $mirror" >&2
debootstrap --variant=minbase --include=ca-certificates bookworm "$root" "$mirror" >"$root.log" 2>&1 ||
  { tail -n 20 "$root.log" >&2; exit 1; }
rm -f "$root.log"
# Authorities that this machine trusts besides Debian's, those of a proxy for instance.
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
tar -C "$root" -c . | docker import - "$image" >/dev/null
