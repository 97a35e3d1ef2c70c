// Every role assignment of the deployment, each with its reason above it. Nothing else in these templates grants, but for
// one role that must be there before the storage account is (encryption.bicep), and those at topics and secrets of yours
// that outcome events need (tell.bicep).

import { keyVaultSecretType, operatorType } from 'types.bicep'

@description('Object id of the identity that the app works as.')
param identityPrincipalId string
@description('Object id of the identity that only publishes and fetches the package.')
param packageIdentityPrincipalId string
@description('Object ids of the identities with which system topics deliver.')
param topicPrincipalIds string[]
@description('Name of the storage account.')
param storageAccountName string
@description('Name of the queue that Event Grid fills.')
param eventsQueue string
@description('Container for events that Event Grid could not deliver.')
param deadLetterContainer string
@description('Container for the package of the function app.')
param packageContainer string
@description('Name of the Application Insights component.')
param applicationInsightsName string
@description('Null without an event hub of its own.')
param eventHubNamespaceName string?
@description('Name of the event hub in it.')
param eventHubName string
@description('The secret of an app registration; null where there is none.')
param clientSecret keyVaultSecretType?
@description('Who may use the command line on this deployment.')
param operators operatorType[]
@description('Container for what the page shows.')
param pageContainer string
@description('Who may read the page\'s data, and nothing else of the account.')
param pageReaders operatorType[]
@description('Vault, key and container of a signed-in user; null for other identities.')
param signIn {
  vault: string
  key: string
  container: string
}?

// https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
var roles = {
  storageBlobDataOwner: 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b'
  storageBlobDataReader: '2a2b9908-6ea1-4ae2-8e65-a410df84e7d1'
  storageBlobDataContributor: 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
  storageQueueDataContributor: '974c5e8b-45b9-4653-ba55-5f855dd0fb88'
  storageQueueDataMessageSender: 'c6a89b2d-59bc-44d0-9896-0f6e12d7b80a'
  storageTableDataContributor: '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'
  monitoringMetricsPublisher: '3913510d-42f4-4e42-8a64-420c390055eb'
  eventHubsDataReceiver: 'a638d3c7-ab3a-418d-83e6-5f17a39d4fde'
  eventHubsDataSender: '2b629674-e913-4c01-ae53-ef4638d8f975'
  keyVaultSecretsUser: '4633458b-17de-408a-b874-0445c86b69e6'
  keyVaultCryptoServiceEncryptionUser: 'e147488a-f6f5-4113-8e2d-b22465e65bf6'
  keyVaultReader: '21090545-7ca7-4776-b22c-e363652d74d2'
}

resource account 'Microsoft.Storage/storageAccounts@2024-01-01' existing = {
  name: storageAccountName

  resource blobs 'blobServices' existing = {
    name: 'default'

    resource deadLetters 'containers' existing = {
      name: deadLetterContainer
    }

    resource packages 'containers' existing = {
      name: packageContainer
    }

    resource pages 'containers' existing = if (!empty(pageReaders)) {
      name: pageContainer
    }

    resource signIns 'containers' existing = if (signIn != null) {
      name: signIn.?container ?? 'none'
    }
  }

  resource queues 'queueServices' existing = {
    name: 'default'

    resource events 'queues' existing = {
      name: eventsQueue
    }
  }

  resource tables 'tableServices' existing = {
    name: 'default'

    resource state 'tables' existing = {
      name: 'unstale'
    }
  }
}

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: applicationInsightsName
}

resource eventHubNamespace 'Microsoft.EventHub/namespaces@2024-01-01' existing = if (eventHubNamespaceName != null) {
  name: eventHubNamespaceName ?? 'none'

  resource hub 'eventhubs' existing = {
    name: eventHubName
  }
}

resource vault 'Microsoft.KeyVault/vaults@2023-07-01' existing = if (clientSecret != null) {
  name: clientSecret.?vault ?? 'none'

  resource secret 'secrets' existing = {
    name: clientSecret.?name ?? 'none'
  }
}

resource signInVault 'Microsoft.KeyVault/vaults@2023-07-01' existing = if (signIn != null) {
  name: signIn.?vault ?? 'none'

  resource key 'keys' existing = {
    name: signIn.?key ?? 'none'
  }
}

// Of all blobs but the package's: what runs must not be able to replace what runs. By a condition, because the host makes
// its containers itself and need not tell their names. https://learn.microsoft.com/azure/storage/blobs/storage-auth-abac
var notThePackage = '((!(ActionMatches{\'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/*\'})) OR (@Resource[Microsoft.Storage/storageAccounts/blobServices/containers:name] StringNotEquals \'${packageContainer}\'))'

// The host keeps its locks, keys and checkpoints in containers that it makes itself; the app, a signed-in user's file.
resource hostBlobs 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account.id, identityPrincipalId, roles.storageBlobDataOwner)
  scope: account
  properties: {
    principalId: identityPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.storageBlobDataOwner)
    condition: notThePackage
    conditionVersion: '2.0'
  }
}

// The platform puts a published package there, and fetches it for each new instance, as an identity that the code does
// not work as.
resource publishes 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account::blobs::packages.id, packageIdentityPrincipalId, roles.storageBlobDataContributor)
  scope: account::blobs::packages
  properties: {
    principalId: packageIdentityPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roles.storageBlobDataContributor
    )
  }
}

// Takes events and wakes, sends wakes and dead letters. Of the whole account, because the scale controller asks for
// the lengths of queues with the same identity.
resource messages 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account.id, identityPrincipalId, roles.storageQueueDataContributor)
  scope: account
  properties: {
    principalId: identityPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roles.storageQueueDataContributor
    )
  }
}

// Reads and writes the state. Of the whole account, because the host keeps its own diagnostic events in a table.
resource state 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account.id, identityPrincipalId, roles.storageTableDataContributor)
  scope: account
  properties: {
    principalId: identityPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roles.storageTableDataContributor
    )
  }
}

// Sends requests and log lines: the component takes none without a token.
resource telemetry 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(insights.id, identityPrincipalId, roles.monitoringMetricsPublisher)
  scope: insights
  properties: {
    principalId: identityPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roles.monitoringMetricsPublisher
    )
  }
}

// Each system topic may put messages into the events queue, and nothing else there.
resource delivers 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for principalId in (eventHubNamespaceName == null ? topicPrincipalIds : []): {
    name: guid(account::queues::events.id, principalId, roles.storageQueueDataMessageSender)
    scope: account::queues::events
    properties: {
      principalId: principalId
      principalType: 'ServicePrincipal'
      roleDefinitionId: subscriptionResourceId(
        'Microsoft.Authorization/roleDefinitions',
        roles.storageQueueDataMessageSender
      )
    }
  }
]

// ... and writes what it could not deliver as blobs into one container.
resource deadLetters 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for principalId in topicPrincipalIds: {
    name: guid(account::blobs::deadLetters.id, principalId, roles.storageBlobDataContributor)
    scope: account::blobs::deadLetters
    properties: {
      principalId: principalId
      principalType: 'ServicePrincipal'
      roleDefinitionId: subscriptionResourceId(
        'Microsoft.Authorization/roleDefinitions',
        roles.storageBlobDataContributor
      )
    }
  }
]

// With an event hub of its own, each system topic sends to that instead ...
resource streams 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for principalId in (eventHubNamespaceName == null ? [] : topicPrincipalIds): {
    name: guid(eventHubNamespace::hub.id, principalId, roles.eventHubsDataSender)
    scope: eventHubNamespace::hub
    properties: {
      principalId: principalId
      principalType: 'ServicePrincipal'
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.eventHubsDataSender)
    }
  }
]

// ... and the host receives from it. Of the namespace, because the scale controller looks at that.
resource receives 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (eventHubNamespaceName != null) {
  name: guid(eventHubNamespace.id, identityPrincipalId, roles.eventHubsDataReceiver)
  scope: eventHubNamespace
  properties: {
    principalId: identityPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.eventHubsDataReceiver)
  }
}

// Reads the one secret of the app registration, where it has one.
resource readsSecret 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (clientSecret != null) {
  name: guid(vault::secret.id, identityPrincipalId, roles.keyVaultSecretsUser)
  scope: vault::secret
  properties: {
    principalId: identityPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.keyVaultSecretsUser)
  }
}

// A person at the command line reads the state, pauses, resumes and asks for refreshes.
resource operates 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for operator in operators: {
    name: guid(account::tables::state.id, operator.principalId, roles.storageTableDataContributor)
    scope: account::tables::state
    properties: {
      principalId: operator.principalId
      principalType: operator.principalType
      roleDefinitionId: subscriptionResourceId(
        'Microsoft.Authorization/roleDefinitions',
        roles.storageTableDataContributor
      )
    }
  }
]

// ... sends the wakes that make the function look, counts dead letters and brings them back: all four queues ...
resource redrives 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for operator in operators: {
    name: guid(account.id, operator.principalId, roles.storageQueueDataContributor)
    scope: account
    properties: {
      principalId: operator.principalId
      principalType: operator.principalType
      roleDefinitionId: subscriptionResourceId(
        'Microsoft.Authorization/roleDefinitions',
        roles.storageQueueDataContributor
      )
    }
  }
]

// ... and what Event Grid could not deliver, likewise.
resource returns 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for operator in operators: {
    name: guid(account::blobs::deadLetters.id, operator.principalId, roles.storageBlobDataContributor)
    scope: account::blobs::deadLetters
    properties: {
      principalId: operator.principalId
      principalType: operator.principalType
      roleDefinitionId: subscriptionResourceId(
        'Microsoft.Authorization/roleDefinitions',
        roles.storageBlobDataContributor
      )
    }
  }
]

// Whoever may see the page alone reads what ticks write for it.
resource readsPage 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for reader in pageReaders: {
    name: guid(account::blobs::pages.id, reader.principalId, roles.storageBlobDataReader)
    scope: account::blobs::pages
    properties: {
      principalId: reader.principalId
      principalType: reader.principalType
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.storageBlobDataReader)
    }
  }
]

// With a signed-in user: the function has the vault unwrap what opens the sign-in. The role would wrap, too, but none
// that is built in does less. The container is in reach already.
resource opensSignIn 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (signIn != null) {
  name: guid(signInVault::key.id, identityPrincipalId, roles.keyVaultCryptoServiceEncryptionUser)
  scope: signInVault::key
  properties: {
    principalId: identityPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roles.keyVaultCryptoServiceEncryptionUser
    )
  }
}

// Whoever runs `unstale login` reads the public half of the key, with which a new sign-in is sealed ...
resource sealsSignIn 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for operator in (signIn == null ? [] : operators): {
    name: guid(signInVault::key.id, operator.principalId, roles.keyVaultReader)
    scope: signInVault::key
    properties: {
      principalId: operator.principalId
      principalType: operator.principalType
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.keyVaultReader)
    }
  }
]

// ... and puts it into its container, shows it and removes it: sealed, for no operator can open it.
resource keepsSignIn 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for operator in (signIn == null ? [] : operators): {
    name: guid(account::blobs::signIns.id, operator.principalId, roles.storageBlobDataContributor)
    scope: account::blobs::signIns
    properties: {
      principalId: operator.principalId
      principalType: operator.principalType
      roleDefinitionId: subscriptionResourceId(
        'Microsoft.Authorization/roleDefinitions',
        roles.storageBlobDataContributor
      )
    }
  }
]
