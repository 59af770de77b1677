#!/bin/sh
# Installs the S3 imitation that the start-up probe must refuse, once per version, and prints the path of its server.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
version=$(sed -n 's/.*"moto": "\(.*\)".*/\1/p' "$here/versions.json")
folder="${XDG_CACHE_HOME:-$HOME/.cache}/almanac/moto-$version"
if [ ! -x "$folder/bin/moto_server" ]; then
  echo "installing moto $version" >&2
  python3 -m venv "$folder"
  "$folder/bin/pip" install --quiet "moto[server]==$version" >&2
fi
echo "$folder/bin/moto_server"
