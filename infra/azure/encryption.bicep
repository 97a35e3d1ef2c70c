// For a key of the customer's own: the identity with which the storage account asks the vault, and its role, which is not
// in roles.bicep, because the account cannot be made before it.

import { customerManagedKeyType } from 'types.bicep'

@description('Name of the identity.')
param name string
@description('Region of the identity.')
param location string
@description('The key, in a vault of this resource group.')
param key customerManagedKeyType

// https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
var keyVaultCryptoServiceEncryptionUser = 'e147488a-f6f5-4113-8e2d-b22465e65bf6'

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: name
  location: location
}

resource vault 'Microsoft.KeyVault/vaults@2023-07-01' existing = {
  name: key.vault

  resource used 'keys' existing = {
    name: key.name
  }
}

// Wraps and unwraps the account's own keys with this one key; it reads and changes nothing in the vault.
resource encrypts 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(vault::used.id, identity.id, keyVaultCryptoServiceEncryptionUser)
  scope: vault::used
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      keyVaultCryptoServiceEncryptionUser
    )
  }
}

@description('Resource id of the identity.')
output identityId string = identity.id
@description('Address of the vault.')
output vaultUrl string = vault.properties.vaultUri
