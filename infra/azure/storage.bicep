// The one storage account: state, queues, dead letters, the package, and what the host keeps. No shared key opens it, and
// nothing without TLS: neither blobs nor queues nor tables.

import { encryptionType } from 'types.bicep'

@description('Name of the account; all of Azure shares such names.')
param name string
@description('Region of the account.')
param location string
@description('Name of the queue that Event Grid fills.')
param eventsQueue string
@description('Container for events that Event Grid could not deliver.')
param deadLetterContainer string
@description('Container for the package of the function app.')
param packageContainer string
@description('Container for what the page shows; null for none.')
param pageContainer string?
@description('Log Analytics workspace that is told of messages put and deleted.')
param workspaceId string
@description('The key that encrypts the account, and as whom the account uses it; null for Microsoft\'s own key.')
param encryption encryptionType?

var wakesQueue = 'unstale-wakes'
var queueNames = [eventsQueue, '${eventsQueue}-poison', wakesQueue, '${wakesQueue}-poison']

resource account 'Microsoft.Storage/storageAccounts@2024-01-01' = {
  name: name
  location: location
  kind: 'StorageV2'
  sku: {
    name: 'Standard_LRS'
  }
  identity: encryption == null
    ? null
    : {
        type: 'UserAssigned'
        userAssignedIdentities: {
          '${encryption!.identityId}': {}
        }
      }
  properties: {
    accessTier: 'Hot'
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    // Queues and tables follow the account's key only if the account was made so: see the page.
    encryption: encryption == null
      ? null
      : {
          keySource: 'Microsoft.Keyvault'
          identity: {
            userAssignedIdentity: encryption!.identityId
          }
          keyvaultproperties: {
            keyvaulturi: encryption!.vaultUrl
            keyname: encryption!.keyName
          }
          services: {
            blob: {
              enabled: true
              keyType: 'Account'
            }
            queue: {
              enabled: true
              keyType: 'Account'
            }
            table: {
              enabled: true
              keyType: 'Account'
            }
          }
        }
  }

  resource blobs 'blobServices' = {
    name: 'default'

    resource containers 'containers' = [
      for container in concat([deadLetterContainer, packageContainer], pageContainer == null ? [] : [pageContainer!]): {
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

@description('Name of the account.')
output accountName string = account.name
@description('Address of the container for the package.')
output packageUrl string = '${account.properties.primaryEndpoints.blob}${packageContainer}'
@description('Address of the blobs, in the cloud of this deployment.')
output blobUrl string = account.properties.primaryEndpoints.blob
@description('Address of the queues, likewise.')
output queueUrl string = account.properties.primaryEndpoints.queue
@description('Address of the tables, likewise.')
output tableUrl string = account.properties.primaryEndpoints.table
