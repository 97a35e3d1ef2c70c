// The one storage account: state, queues, dead letters, the package, and what the host keeps. No shared key opens it.

param name string
param location string
param eventsQueue string
param deadLetterContainer string
@description('Log Analytics workspace that is told of messages put and deleted.')
param workspaceId string

var wakesQueue = 'unstale-wakes'
var packageContainerName = 'package'
var queueNames = [eventsQueue, '${eventsQueue}-poison', wakesQueue, '${wakesQueue}-poison']

resource account 'Microsoft.Storage/storageAccounts@2024-01-01' = {
  name: name
  location: location
  kind: 'StorageV2'
  sku: {
    name: 'Standard_LRS'
  }
  properties: {
    accessTier: 'Hot'
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
  }

  resource blobs 'blobServices' = {
    name: 'default'

    resource containers 'containers' = [
      for container in [deadLetterContainer, packageContainerName]: {
        name: container
        properties: {
          publicAccess: 'None'
        }
      }
    ]
  }

  resource queues 'queueServices' = {
    name: 'default'

    // The poison queues are there from the start: our own unreadable messages go in, and a queue that is missing
    // would look like an outage.
    resource each 'queues' = [
      for queue in queueNames: {
        name: queue
      }
    ]
  }

  resource tables 'tableServices' = {
    name: 'default'

    resource state 'tables' = {
      name: 'unstale'
    }
  }
}

// Queues have no metric of their own, so alerts read who put a message where, and what was taken away.
resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'unstale'
  scope: account::queues
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        category: 'StorageWrite'
        enabled: true
      }
      {
        category: 'StorageDelete'
        enabled: true
      }
    ]
  }
}

output accountName string = account.name
output packageUrl string = '${account.properties.primaryEndpoints.blob}${packageContainerName}'
output blobUrl string = account.properties.primaryEndpoints.blob
output queueUrl string = account.properties.primaryEndpoints.queue
output tableUrl string = account.properties.primaryEndpoints.table
