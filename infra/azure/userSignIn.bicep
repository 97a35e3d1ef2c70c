// What is kept of a signed-in user: a container for the sealed token cache, and the key that opens it. See SIGN-IN.md.

param name string
param location string
param storageAccountName string
param container string
param keyName string

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

output vaultUrl string = vault.properties.vaultUri
