// Beside the queue: Event Grid calls the function itself, and what comes twice is taken once. Deploy it after publishing,
// because the function must be there. One account a deployment, in the resource group of its system topic.

import { filterType } from 'types.bicep'

param systemTopic string
param filters filterType[]
param functionAppName string
@description('Of the function app and its storage account.')
param unstaleResourceGroup string
param unstaleSubscriptionId string = subscription().subscriptionId
param storageAccountName string
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

resource subscriptions 'Microsoft.EventGrid/systemTopics/eventSubscriptions@2025-02-15' = [
  for filter in filters: {
    parent: topic
    name: '${functionAppName}-push-${uniqueString(filter.subjectBeginsWith, filter.subjectEndsWith)}'
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
        includedEventTypes: [
          'Microsoft.Storage.BlobCreated'
          'Microsoft.Storage.BlobRenamed'
          'Microsoft.Storage.DirectoryRenamed'
        ]
        subjectBeginsWith: filter.subjectBeginsWith
        subjectEndsWith: filter.subjectEndsWith
        isSubjectCaseSensitive: false
      }
      retryPolicy: {
        maxDeliveryAttempts: 30
        eventTimeToLiveInMinutes: 1440
      }
    }
  }
]
