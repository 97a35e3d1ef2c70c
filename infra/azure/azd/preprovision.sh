#!/bin/sh
# Before azd provisions, in the folder of azure.yaml: the parameters and the package, of UNSTALE_CONFIG or unstale.toml.
set -eu
PATH="$PWD/.venv/bin:$PATH" # where `make env` puts the command
unstale package azure --config "${UNSTALE_CONFIG:-unstale.toml}"
here=infra/azure/azd
[ -e "$here/main.bicepparam" ] || sed '/^\/\/ An example/d' "$here/main.example.bicepparam" > "$here/main.bicepparam"
