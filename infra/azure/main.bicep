// unstale on Azure: everything but the code, which is published afterwards. See README.md.

import {
  customerManagedKeyType
  fabricType
  operatorType
  pageType
  placementType
  sourceType
  streamType
  tellSecretType
  tellTopicType
  vaultAccessType
  workloadType
} from 'types.bicep'

@description('What names begin with; another one for each environment of a subscription.')
@minLength(3)
@maxLength(20)
param name string = 'unstale'

@description('Region of everything but system topics, which are where their accounts are.')
param location string = resourceGroup().location

@description('From `unstale infra azure --write`: which blobs are arrivals.')
param sources sourceType[]

@description('By account: where it is, and the system topic that it has already.')
param placements { *: placementType } = {}

@description('In which cloud of Microsoft\'s all of this is. The addresses of Entra, Fabric and OneLake follow, and whose tokens are taken.')
@allowed(['public', 'usgov', 'china'])
param cloud string = 'public'

@description('Address of Entra with the tenant, as https://login.microsoftonline.com/<tenant>; empty for that of the cloud.')
param authority string = ''

@description('Address of Fabric\'s API; empty for that of the cloud.')
param fabricUrl string = ''

@description('Address of OneLake\'s files; empty for that of the cloud.')
param oneLakeUrl string = ''

@description('As whom Fabric is called; as fabric.identity in unstale.toml.')
param fabric fabricType = { kind: 'managed-identity' }

@description('Where Fabric asks for jobs: a configuration with [workload].')
param workload workloadType?

@description('The event hub that the function reads: none, one of its own, or the custom endpoint of a Fabric eventstream.')
param stream streamType = { kind: 'none' }

@description('Whether the app has the function that Event Grid calls itself: before push.bicep.')
param push bool = false

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

@description('Makes a container into which a tick writes, every five minutes, what `unstale page` shows, and names who may read that without the table; null for none.')
param page pageType?

@description('Days that the log is kept.')
@minValue(30)
@maxValue(730)
param logRetentionDays int = 30

@description('Gigabytes a day after which the log takes no more: what strangers can make it cost. The page reckons it.')
@minValue(1)
@maxValue(100)
param logDailyCapGb int = 1

@description('A key of one\'s own for the storage account, in a Key Vault of this resource group; null for Microsoft\'s. To be given from the first deployment on.')
param customerManagedKey customerManagedKeyType?

@description('For a signed-in user: who reaches the vault over the network, and whether its log says who used it.')
param vaultAccess vaultAccessType = {}

@description('Topics that [[tell]] names with to = "eventgrid": the app may send to these.')
param tellTopics tellTopicType[] = []

@description('Secrets that [[tell]] names as url_secret or signing_secret: the app may read these.')
param tellSecrets tellSecretType[] = []

// Names that the whole of Azure shares.
var suffix = uniqueString(resourceGroup().id, name)
var uniqueName = '${name}-${suffix}'
var storageName = 'unstale${suffix}'

// The variables that they are for the code.
var addresses = {
  UNSTALE_AUTHORITY: authority
  UNSTALE_FABRIC_URL: fabricUrl
  UNSTALE_ONELAKE_URL: oneLakeUrl
}

// The names that the code has.
var eventsQueue = 'unstale-events'
var eventHubName = 'unstale-events'
var deadLetterContainer = 'dead-letters'
var packageContainer = 'package'
var pageContainer = 'page'
var signInContainer = 'sign-in'
var signInKey = 'sign-in'

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: name
  location: location
}

// Only the platform works as this one, to put and fetch the package.
resource packageIdentity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: '${name}-package'
  location: location
}

module monitoring 'monitoring.bicep' = {
  params: {
    name: name
    location: location
    retentionDays: logRetentionDays
    dailyCapGb: logDailyCapGb
    alertEmail: alertEmail
  }
}

module encryption 'encryption.bicep' = if (customerManagedKey != null) {
  params: {
    name: '${name}-encryption'
    location: location
    key: customerManagedKey!
  }
}

module storage 'storage.bicep' = {
  params: {
    name: storageName
    eventsQueue: eventsQueue
    deadLetterContainer: deadLetterContainer
    packageContainer: packageContainer
    pageContainer: page == null ? null : pageContainer
    location: location
    workspaceId: monitoring.outputs.workspaceId
    encryption: customerManagedKey == null
      ? null
      : {
          identityId: encryption!.outputs.identityId
          vaultUrl: encryption!.outputs.vaultUrl
          keyName: customerManagedKey!.name
        }
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
    access: vaultAccess
    workspaceId: monitoring.outputs.workspaceId
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
    packageIdentityPrincipalId: packageIdentity.properties.principalId
    topicPrincipalIds: [for (source, index) in sources: topics[index].outputs.principalId]
    storageAccountName: storageName
    eventsQueue: eventsQueue
    deadLetterContainer: deadLetterContainer
    packageContainer: packageContainer
    applicationInsightsName: name
    eventHubName: eventHubName
    eventHubNamespaceName: stream.kind == 'own' ? uniqueName : null
    clientSecret: fabric.kind == 'service-principal' ? fabric.?secret : null
    operators: operators
    pageContainer: pageContainer
    pageReaders: page.?readers ?? []
    signIn: fabric.kind == 'user' ? { vault: storageName, key: signInKey, container: signInContainer } : null
  }
  dependsOn: [storage, eventHub, monitoring, userSignIn]
}

module tellsTopics 'tell.bicep' = [
  for (topic, index) in tellTopics: {
    name: 'tell-topic-${index}-${suffix}'
    scope: resourceGroup(
      topic.?subscriptionId ?? subscription().subscriptionId,
      topic.?resourceGroup ?? resourceGroup().name
    )
    params: {
      identityPrincipalId: identity.properties.principalId
      topic: topic.name
    }
  }
]

module readsTellSecrets 'tell.bicep' = [
  for (secret, index) in tellSecrets: {
    name: 'tell-secret-${index}-${suffix}'
    scope: resourceGroup(
      secret.?subscriptionId ?? subscription().subscriptionId,
      secret.?resourceGroup ?? resourceGroup().name
    )
    params: {
      identityPrincipalId: identity.properties.principalId
      vault: secret.vault
      secret: secret.name
    }
  }
]

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
      directories: source.directories
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
    packageIdentityId: packageIdentity.id
    packageUrl: storage.outputs.packageUrl
    queueUrl: storage.outputs.queueUrl
    tableUrl: storage.outputs.tableUrl
    blobUrl: storage.outputs.blobUrl
    applicationInsightsName: name
    fabric: fabric
    cloud: cloud
    addresses: addresses
    push: push
    pageContainer: page == null ? null : pageContainer
    subnetId: fabric.kind == 'user' ? vaultAccess.?subnetId : null
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
    logDailyCapGb: logDailyCapGb
  }
}

@description('Name of the app, for publishing.')
output functionAppName string = functionApp.outputs.appName
@description('Host name of the app, under which Fabric calls a workload.')
output hostName string = functionApp.outputs.hostName
@description('Name of the storage account.')
output storageAccountName string = storage.outputs.accountName
@description('Give it a role in each Fabric workspace of a target (managed-identity).')
output identityClientId string = identity.properties.clientId
@description('Object id of the same identity: the subject of a federated credential (service-principal without a secret).')
output identityPrincipalId string = identity.properties.principalId
@description('In which cloud all of this is.')
output cloud string = cloud
@description('What the command line wants to know, as lines for a shell.')
output environment string = join(
  [
    'export UNSTALE_CLOUD=${cloud}'
    'export UNSTALE_STORAGE__tableServiceUri=${storage.outputs.tableUrl}'
    'export UNSTALE_STORAGE__queueServiceUri=${storage.outputs.queueUrl}'
    'export UNSTALE_STORAGE__blobServiceUri=${storage.outputs.blobUrl}'
    'export UNSTALE_AUTHORITY=${authority}'
    'export UNSTALE_FABRIC_URL=${fabricUrl}'
    'export UNSTALE_ONELAKE_URL=${oneLakeUrl}'
    'export UNSTALE_CLIENT_ID=${fabric.kind == 'managed-identity' ? identity.properties.clientId : fabric.clientId}'
    'export UNSTALE_TENANT_ID=${fabric.kind == 'managed-identity' ? tenant().tenantId : fabric.tenantId}'
    'export UNSTALE_PUSH=${push ? 'true' : ''}'
    'export UNSTALE_PAGE_CONTAINER=${page == null ? '' : pageContainer}'
    'export UNSTALE_KEY_VAULT_URL=${fabric.kind == 'user' ? userSignIn!.outputs.vaultUrl : ''}'
    'export UNSTALE_EVENTS__fullyQualifiedNamespace=${stream.kind == 'own' ? eventHub!.outputs.fullyQualifiedNamespace : stream.kind == 'eventstream' ? stream.fullyQualifiedNamespace : ''}'
  ],
  '\n'
)
