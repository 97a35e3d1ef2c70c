// What one system topic delivers, and where to: one subscription a filter.

import { filterType } from 'types.bicep'

param name string
param topicName string
param filters filterType[]
param storageAccountId string
param eventsQueue string
param deadLetterContainer string
@description('The event hub to deliver into; empty for the queue.')
param eventHubId string

var weekSeconds = 604800

resource topic 'Microsoft.EventGrid/systemTopics@2025-02-15' existing = {
  name: topicName
}

var queue = {
  endpointType: 'StorageQueue'
  properties: {
    resourceId: storageAccountId
    queueName: eventsQueue
    queueMessageTimeToLiveInSeconds: weekSeconds
  }
}
var hub = {
  endpointType: 'EventHub'
  properties: {
    resourceId: eventHubId
  }
}

resource subscriptions 'Microsoft.EventGrid/systemTopics/eventSubscriptions@2025-02-15' = [
  for filter in filters: {
    parent: topic
    name: '${name}-${uniqueString(filter.subjectBeginsWith, filter.subjectEndsWith)}'
    properties: {
      deliveryWithResourceIdentity: {
        identity: {
          type: 'SystemAssigned'
        }
        destination: empty(eventHubId) ? queue : hub
      }
      deadLetterWithResourceIdentity: {
        identity: {
          type: 'SystemAssigned'
        }
        deadLetterDestination: {
          endpointType: 'StorageBlob'
          properties: {
            resourceId: storageAccountId
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
      // A day, which is the most.
      retryPolicy: {
        maxDeliveryAttempts: 30
        eventTimeToLiveInMinutes: 1440
      }
    }
  }
]
