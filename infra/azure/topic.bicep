// The system topic of one source account, where the account is; its identity delivers. An account has one at most, so two
// environments that listen to one account share it: each deploys the same one.

@description('Name of the source account, in the resource group of this module.')
param account string
@description('Region of the source account.')
param location string
@description('The one that is there already; null to make one.')
param existingTopic string?

resource source 'Microsoft.Storage/storageAccounts@2024-01-01' existing = {
  name: account
}

resource made 'Microsoft.EventGrid/systemTopics@2025-02-15' = if (existingTopic == null) {
  name: 'unstale-${account}'
  location: location
  identity: {
    type: 'SystemAssigned'
  }
  properties: {
    source: source.id
    topicType: 'Microsoft.Storage.StorageAccounts'
  }
}

resource found 'Microsoft.EventGrid/systemTopics@2025-02-15' existing = if (existingTopic != null) {
  name: existingTopic ?? 'none'
}

@description('Object id of the identity with which the topic delivers.')
output principalId string = existingTopic == null ? made!.identity.principalId : found!.identity.principalId
