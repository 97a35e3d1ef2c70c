"""Microsoft's clouds as values: the public one and two national ones; what differs between them for us.

`UNSTALE_CLOUD` names one, as the template's parameter `cloud` does; a variable that names an address wins over it.
Entra: https://learn.microsoft.com/entra/identity-platform/authentication-national-cloud
Azure: https://learn.microsoft.com/azure/azure-government/compare-azure-government-global-azure and
https://learn.microsoft.com/azure/china/resources-developer-guide
"""

from __future__ import annotations

from collections.abc import Mapping

from shared.values import Value


class AzureCloud(Value, frozen=True):
    """Addresses of one cloud, and whose tokens count there. The fields' defaults are the public cloud."""

    login_url: str = "https://login.microsoftonline.com"
    """Entra's authority, without a tenant."""
    fabric_audience: str = "https://api.fabric.microsoft.com"
    """Whom tokens for Fabric are for; its API is below the same address."""
    onelake_url: str = "https://onelake.dfs.fabric.microsoft.com"
    """OneLake's files."""
    storage_suffix: str = "core.windows.net"
    """How the hosts of storage accounts end. The audience of their tokens is the same in every cloud."""
    vault_audience: str = "https://vault.azure.net"
    """Whom tokens for a Key Vault are for."""
    management_url: str = "https://management.azure.com"
    """Resource Manager, and whom tokens for it are for."""
    exchange_audience: str = "api://AzureADTokenExchange"
    """Whom a managed identity's token is for that stands for an app registration (workload identity federation)."""
    issuer_v1: str = "https://sts.windows.net/{tenantid}/"
    """`iss` of tokens of version 1.0, with `{tenantid}` for the tenant."""
    issuer_v2: str = "https://login.microsoftonline.com/{tenantid}/v2.0"
    """`iss` of tokens of version 2.0, likewise."""

    @property
    def fabric_url(self) -> str:
        """Fabric's API."""
        return f"{self.fabric_audience}/v1"


PUBLIC = AzureCloud()

CLOUDS: Mapping[str, AzureCloud] = {
    "public": PUBLIC,
    "usgov": AzureCloud(
        login_url="https://login.microsoftonline.us",
        fabric_audience="https://api.fabric.microsoft.us",
        onelake_url="https://onelake.dfs.fabric.microsoft.us",
        storage_suffix="core.usgovcloudapi.net",
        vault_audience="https://vault.usgovcloudapi.net",
        management_url="https://management.usgovcloudapi.net",
        exchange_audience="api://AzureADTokenExchangeUSGov",
        issuer_v1="https://sts.windows.net/{tenantid}/",
        issuer_v2="https://login.microsoftonline.us/{tenantid}/v2.0",
    ),
    "china": AzureCloud(
        login_url="https://login.partner.microsoftonline.cn",
        fabric_audience="https://api.fabric.microsoft.cn",
        onelake_url="https://onelake.dfs.fabric.microsoft.cn",
        storage_suffix="core.chinacloudapi.cn",
        vault_audience="https://vault.azure.cn",
        management_url="https://management.chinacloudapi.cn",
        exchange_audience="api://AzureADTokenExchangeChina",
        issuer_v1="https://sts.chinacloudapi.cn/{tenantid}/",
        issuer_v2="https://login.partner.microsoftonline.cn/{tenantid}/v2.0",
    ),
}
"""By the values of `UNSTALE_CLOUD`.

Issuers of version 1.0: https://learn.microsoft.com/answers/questions/1190472. Exchange audiences:
https://learn.microsoft.com/entra/workload-id/workload-identity-federation-config-app-trust-managed-identity. Microsoft
publishes no addresses of Fabric in the national clouds; these are those that others' clients carry (2026-11), so
`UNSTALE_FABRIC_URL` and `UNSTALE_ONELAKE_URL` are for what turns out otherwise.
"""
