#!/bin/sh
# After azd has provisioned: publish the package, and look. azd sets the variables; the last three are outputs of main.bicep.
set -eu
: "$AZURE_SUBSCRIPTION_ID" "$AZURE_RESOURCE_GROUP" "$UNSTALE_APP" "$UNSTALE_STACK"
PATH="$PWD/.venv/bin:$PATH"
az functionapp deployment source config-zip --subscription "$AZURE_SUBSCRIPTION_ID" \
  --resource-group "$AZURE_RESOURCE_GROUP" --name "$UNSTALE_APP" --src build/azure.zip
echo "Role assignments take some minutes to hold, and the role in Fabric is yours to give. Until then this is not all well:"
unstale check --live --cloud azure --config "${UNSTALE_CONFIG:-unstale.toml}" --stack "$UNSTALE_STACK" ||
  echo "Once the cures are done: unstale check --live --cloud azure --stack $UNSTALE_STACK"
