// Beside the queue: Event Grid calls the function itself, and what comes twice is taken once. Deploy it after publishing,
// because the function must be there. One account a deployment, in the resource group of its system topic.

import { filterType } from 'types.bicep'

@description('Name of the system topic of the source account.')
param systemTopic string
@description('Files: which ones are arrivals; `filters` of the account in default.json.')
param filters filterType[]
@description('Renamed directories: in which containers; `directories` of the account in default.json.')
param directories filterType[]
@description('The output functionAppName of main.bicep, which was deployed with `param push = true`.')
param functionAppName string
@description('Of the function app and its storage account.')
param unstaleResourceGroup string
@description('Subscription of the function app, if it is another one.')
param unstaleSubscriptionId string = subscription().subscriptionId
@description('The output storageAccountName of main.bicep.')
param storageAccountName string
@description('Container for what cannot be delivered.')
param deadLetterContainer string = 'dead-letters'

resource topic 'Microsoft.EventGrid/systemTopics@2025-02-15' existing = {
  name: systemTopic
}

resource app 'Microsoft.Web/sites@2024-04-01' existing = {
  name: functionAppName
  scope: resourceGroup(unstaleSubscriptionId, unstaleResourceGroup)

  resource function 'functions' existing = {
    name: 'event_grid'
  }
}

resource storageAccount 'Microsoft.Storage/storageAccounts@2024-01-01' existing = {
  name: storageAccountName
  scope: resourceGroup(unstaleSubscriptionId, unstaleResourceGroup)
}

// As in subscriptions.bicep.
var wanted = concat(
  map(filters, filter => {
    name: '${functionAppName}-push-${uniqueString(filter.subjectBeginsWith, filter.subjectEndsWith)}'
    filter: filter
    types: ['Microsoft.Storage.BlobCreated', 'Microsoft.Storage.BlobRenamed']
  }),
  map(directories, filter => {
    name: '${functionAppName}-push-renamed-${uniqueString(filter.subjectBeginsWith, filter.subjectEndsWith)}'
    filter: filter
    types: ['Microsoft.Storage.DirectoryRenamed']
  })
)

resource subscriptions 'Microsoft.EventGrid/systemTopics/eventSubscriptions@2025-02-15' = [
  for each in wanted: {
    parent: topic
    name: each.name
    properties: {
      destination: {
        endpointType: 'AzureFunction'
        properties: {
          resourceId: app::function.id
          // A batch fails as a whole.
          maxEventsPerBatch: 1
        }
      }
      deadLetterWithResourceIdentity: {
        identity: {
          type: 'SystemAssigned'
        }
        deadLetterDestination: {
          endpointType: 'StorageBlob'
          properties: {
            resourceId: storageAccount.id
            blobContainerName: deadLetterContainer
          }
        }
      }
      eventDeliverySchema: 'CloudEventSchemaV1_0'
      filter: {
        includedEventTypes: each.types
        subjectBeginsWith: each.filter.subjectBeginsWith
        subjectEndsWith: each.filter.subjectEndsWith
        isSubjectCaseSensitive: false
      }
      retryPolicy: {
        maxDeliveryAttempts: 30
        eventTimeToLiveInMinutes: 1440
      }
    }
  }
]
