// What the app may do where outcome events go, in the resource group of the topic or of the vault: both are yours, and
// these roles are the only ones of this template outside its own resource group.

@description('Object id of the identity that the app works as.')
param identityPrincipalId string
@description('Name of a custom topic; null where this is about a secret.')
param topic string?
@description('Name of a vault; null where this is about a topic.')
param vault string?
@description('Name of the secret in it.')
param secret string?

// https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
var roles = {
  eventGridDataSender: 'd5a91429-5739-47e2-a06b-3470a27159e7'
  keyVaultSecretsUser: '4633458b-17de-408a-b874-0445c86b69e6'
}

resource told 'Microsoft.EventGrid/topics@2025-02-15' existing = if (topic != null) {
  name: topic ?? 'none'
}

resource keeper 'Microsoft.KeyVault/vaults@2023-07-01' existing = if (vault != null) {
  name: vault ?? 'none'

  resource kept 'secrets' existing = {
    name: secret ?? 'none'
  }
}

// Publishes outcome events to this topic, and changes nothing about it.
resource tells 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (topic != null) {
  name: guid(told.id, identityPrincipalId, roles.eventGridDataSender)
  scope: told
  properties: {
    principalId: identityPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.eventGridDataSender)
  }
}

// Reads the address of a webhook, or what messages to it are signed with: this one secret.
resource readsSecret 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (vault != null) {
  name: guid(keeper::kept.id, identityPrincipalId, roles.keyVaultSecretsUser)
  scope: keeper::kept
  properties: {
    principalId: identityPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.keyVaultSecretsUser)
  }
}
