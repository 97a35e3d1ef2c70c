// unstale on Azure: everything but the code, which is published afterwards. See README.md.

import { fabricType, operatorType, placementType, sourceType, streamType, workloadType } from 'types.bicep'

@description('What names begin with; another one for each environment of a subscription.')
@minLength(3)
@maxLength(20)
param name string = 'unstale'

param location string = resourceGroup().location

@description('From `unstale infra azure --write`: which blobs are arrivals.')
param sources sourceType[]

@description('By account: where it is, and the system topic that it has already.')
param placements { *: placementType } = {}

param fabric fabricType = { kind: 'managed-identity' }
param fabricUrl string = 'https://api.fabric.microsoft.com/v1'
@description('Where Fabric asks for jobs: a configuration with [workload].')
param workload workloadType?
param stream streamType = { kind: 'none' }

@description('The smallest that holds host and worker: see README.md.')
@allowed([512, 2048, 4096])
param instanceMemoryMB int = 512

@description('40 is the least that Flex Consumption takes.')
@minValue(40)
@maxValue(1000)
param maximumInstanceCount int = 40

@description('Who gets alerts by e-mail; nobody if empty.')
param alertEmail string = ''

@description('Who may use the command line on this deployment: keys open nothing, and an owner reads no data.')
param operators operatorType[] = []

@minValue(30)
@maxValue(730)
param logRetentionDays int = 30

// Names that the whole of Azure shares.
var suffix = uniqueString(resourceGroup().id, name)
var uniqueName = '${name}-${suffix}'
var storageName = 'unstale${suffix}'

// The names that the code has.
var eventsQueue = 'unstale-events'
var eventHubName = 'unstale-events'
var deadLetterContainer = 'dead-letters'
var signInContainer = 'sign-in'
var signInKey = 'sign-in'

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: name
  location: location
}

module monitoring 'monitoring.bicep' = {
  params: {
    name: name
    location: location
    retentionDays: logRetentionDays
    alertEmail: alertEmail
  }
}

module storage 'storage.bicep' = {
  params: {
    name: storageName
    eventsQueue: eventsQueue
    deadLetterContainer: deadLetterContainer
    location: location
    workspaceId: monitoring.outputs.workspaceId
  }
}

module eventHub 'eventHub.bicep' = if (stream.kind == 'own') {
  params: {
    name: uniqueName
    hubName: eventHubName
    location: location
    actionGroupId: monitoring.outputs.actionGroupId
  }
}

module userSignIn 'userSignIn.bicep' = if (fabric.kind == 'user') {
  params: {
    name: storageName
    location: location
    storageAccountName: storageName
    container: signInContainer
    keyName: signInKey
  }
  dependsOn: [storage]
}

module topics 'topic.bicep' = [
  for source in sources: {
    name: 'topic-${source.account}-${suffix}'
    scope: resourceGroup(
      placements[?source.account].?subscriptionId ?? subscription().subscriptionId,
      placements[?source.account].?resourceGroup ?? resourceGroup().name
    )
    params: {
      account: source.account
      location: placements[?source.account].?location ?? location
      existingTopic: placements[?source.account].?systemTopic
    }
  }
]

module roles 'roles.bicep' = {
  params: {
    identityPrincipalId: identity.properties.principalId
    topicPrincipalIds: [for (source, index) in sources: topics[index].outputs.principalId]
    storageAccountName: storageName
    eventsQueue: eventsQueue
    deadLetterContainer: deadLetterContainer
    applicationInsightsName: name
    eventHubName: eventHubName
    eventHubNamespaceName: stream.kind == 'own' ? uniqueName : null
    clientSecret: fabric.kind == 'service-principal' ? fabric.?secret : null
    operators: operators
    signIn: fabric.kind == 'user' ? { vault: storageName, key: signInKey, container: signInContainer } : null
  }
  dependsOn: [storage, eventHub, monitoring, userSignIn]
}

module subscriptions 'subscriptions.bicep' = [
  for (source, index) in sources: {
    name: 'subscriptions-${source.account}-${suffix}'
    scope: resourceGroup(
      placements[?source.account].?subscriptionId ?? subscription().subscriptionId,
      placements[?source.account].?resourceGroup ?? resourceGroup().name
    )
    params: {
      owner: uniqueName
      account: source.account
      topicName: placements[?source.account].?systemTopic ?? 'unstale-${source.account}'
      filters: source.filters
      storageAccountId: resourceId('Microsoft.Storage/storageAccounts', storageName)
      eventsQueue: eventsQueue
      deadLetterContainer: deadLetterContainer
      eventHubId: stream.kind == 'own'
        ? resourceId('Microsoft.EventHub/namespaces/eventhubs', uniqueName, eventHubName)
        : null
      actionGroupId: monitoring.outputs.actionGroupId
    }
    dependsOn: [roles] // without its role an identity cannot deliver
  }
]

module functionApp 'functionApp.bicep' = {
  params: {
    name: uniqueName
    location: location
    instanceMemoryMB: instanceMemoryMB
    maximumInstanceCount: maximumInstanceCount
    identityName: identity.name
    packageUrl: storage.outputs.packageUrl
    storageAccountName: storageName
    queueUrl: storage.outputs.queueUrl
    tableUrl: storage.outputs.tableUrl
    blobUrl: storage.outputs.blobUrl
    applicationInsightsName: name
    fabric: fabric
    fabricUrl: fabricUrl
    keyVaultUrl: fabric.kind == 'user' ? userSignIn!.outputs.vaultUrl : null
    workload: workload
    stream: stream.kind == 'own'
      ? {
          fullyQualifiedNamespace: eventHub!.outputs.fullyQualifiedNamespace
          eventHub: eventHubName
          consumerGroup: eventHub!.outputs.consumerGroup
        }
      : stream.kind == 'eventstream'
          ? {
              fullyQualifiedNamespace: stream.fullyQualifiedNamespace
              eventHub: stream.eventHub
              consumerGroup: stream.consumerGroup
            }
          : null
  }
  dependsOn: [roles] // the host cannot start without its storage
}

module alerts 'alerts.bicep' = {
  params: {
    name: name
    location: location
    workspaceId: monitoring.outputs.workspaceId
    actionGroupId: monitoring.outputs.actionGroupId
  }
}

output functionAppName string = functionApp.outputs.appName
output hostName string = functionApp.outputs.hostName
output storageAccountName string = storage.outputs.accountName
@description('Give it a role in each Fabric workspace of a target (managed-identity).')
output identityClientId string = identity.properties.clientId
output identityPrincipalId string = identity.properties.principalId
@description('What the command line wants to know, as lines for a shell.')
output environment string = join(
  [
    'export UNSTALE_STORAGE__tableServiceUri=${storage.outputs.tableUrl}'
    'export UNSTALE_STORAGE__queueServiceUri=${storage.outputs.queueUrl}'
    'export UNSTALE_STORAGE__blobServiceUri=${storage.outputs.blobUrl}'
    'export UNSTALE_FABRIC_URL=${fabricUrl}'
    'export UNSTALE_CLIENT_ID=${fabric.kind == 'managed-identity' ? identity.properties.clientId : fabric.clientId}'
    'export UNSTALE_TENANT_ID=${fabric.kind == 'managed-identity' ? tenant().tenantId : fabric.tenantId}'
    'export UNSTALE_KEY_VAULT_URL=${fabric.kind == 'user' ? userSignIn!.outputs.vaultUrl : ''}'
    'export UNSTALE_EVENTS__fullyQualifiedNamespace=${stream.kind == 'own' ? eventHub!.outputs.fullyQualifiedNamespace : stream.kind == 'eventstream' ? stream.fullyQualifiedNamespace : ''}'
  ],
  '\n'
)
