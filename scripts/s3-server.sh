#!/bin/sh
# Builds the S3 server that the tests run against, once per version, and prints its path. Needs Go 1.25 or later.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
version=$(sed -n 's/.*"versitygw": "\(.*\)".*/\1/p' "$here/versions.json")
folder="${XDG_CACHE_HOME:-$HOME/.cache}/almanac/versitygw-$version"
if [ ! -x "$folder/versitygw" ]; then
  echo "building versitygw $version (about two minutes)" >&2
  mkdir -p "$folder"
  GOBIN="$folder" go install "github.com/versity/versitygw/cmd/versitygw@$version" >&2
fi
echo "$folder/versitygw"
