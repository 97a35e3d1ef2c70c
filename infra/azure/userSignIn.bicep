// What is kept of a signed-in user: a container for the sealed token cache, and the key that opens it. See SIGN-IN.md.

import { vaultAccessType } from 'types.bicep'

@description('Name of the vault; all of Azure shares such names.')
param name string
@description('Region of the vault.')
param location string
@description('Name of the storage account of this deployment.')
param storageAccountName string
@description('Container for the sealed token cache.')
param container string
@description('Name of the key that opens it.')
param keyName string
@description('Who reaches the vault over the network, and whether its log says who used it.')
param access vaultAccessType
@description('Resource id of the Log Analytics workspace for that log.')
param workspaceId string

var restricted = access.?subnetId != null || access.?allowedAddresses != null

// No access policies, only roles (roles.bicep). A key that is deleted can be recovered for ninety days; without it,
// signing in again is all that is lost, so purging is not forbidden.
resource vault 'Microsoft.KeyVault/vaults@2023-07-01' = {
  name: name
  location: location
  properties: {
    tenantId: tenant().tenantId
    sku: {
      family: 'A'
      name: 'standard'
    }
    enableRbacAuthorization: true
    enableSoftDelete: true
    softDeleteRetentionInDays: 90
    enabledForDeployment: false
    enabledForDiskEncryption: false
    enabledForTemplateDeployment: false
    // The app is no service that a vault trusts by itself, so it comes in by its subnet or not at all.
    networkAcls: {
      bypass: 'None'
      defaultAction: restricted ? 'Deny' : 'Allow'
      ipRules: map(access.?allowedAddresses ?? [], address => { value: address })
      virtualNetworkRules: map(access.?subnetId == null ? [] : [access.?subnetId!], subnet => { id: subnet })
    }
  }

  // Its private half never leaves the vault, which unwraps data keys for whoever has the role.
  resource key 'keys' = {
    name: keyName
    properties: {
      kty: 'RSA'
      keySize: 3072
      keyOps: ['wrapKey', 'unwrapKey']
    }
  }
}

// Each call of the vault: who, from where, with what outcome.
resource audit 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (access.?auditLog ?? false) {
  name: 'unstale'
  scope: vault
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        category: 'AuditEvent'
        enabled: true
      }
    ]
  }
}

resource account 'Microsoft.Storage/storageAccounts@2024-01-01' existing = {
  name: storageAccountName

  resource blobs 'blobServices' existing = {
    name: 'default'

    resource signIn 'containers' = {
      name: container
      properties: {
        publicAccess: 'None'
      }
    }
  }
}

@description('Address of the vault.')
output vaultUrl string = vault.properties.vaultUri
