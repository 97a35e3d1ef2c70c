// What one system topic delivers to us, and where to: one subscription a filter; and who is told when it fails.

import { filterType } from 'types.bicep'

@description('Of this deployment alone: other environments, and others, have subscriptions of the same topic.')
param owner string
@description('Name of the source account.')
param account string
@description('Name of its system topic.')
param topicName string
@description('Files: which ones are arrivals.')
param filters filterType[]
@description('Renamed directories: in which containers.')
param directories filterType[]
@description('Resource id of the storage account that keeps queue and dead letters.')
param storageAccountId string
@description('Name of the queue to deliver into.')
param eventsQueue string
@description('Container for what cannot be delivered.')
param deadLetterContainer string
@description('The event hub to deliver into; null for the queue.')
param eventHubId string?
@description('Resource id of the action group that is told when delivery fails.')
param actionGroupId string

resource topic 'Microsoft.EventGrid/systemTopics@2025-02-15' existing = {
  name: topicName
}

var queue = {
  endpointType: 'StorageQueue'
  properties: {
    resourceId: storageAccountId
    queueName: eventsQueue
    queueMessageTimeToLiveInSeconds: -1 // for ever: what waits for us to be mended must not be gone by then
  }
}
var hub = {
  endpointType: 'EventHub'
  properties: {
    resourceId: eventHubId
  }
}

// A renamed directory brings all its files: its subject has no suffix, and is shorter than the prefix where a parent was
// renamed. So directories have subscriptions of their own, by container; no event passes two.
var wanted = concat(
  map(filters, filter => {
    name: '${owner}-${uniqueString(filter.subjectBeginsWith, filter.subjectEndsWith)}'
    filter: filter
    types: ['Microsoft.Storage.BlobCreated', 'Microsoft.Storage.BlobRenamed']
  }),
  map(directories, filter => {
    name: '${owner}-renamed-${uniqueString(filter.subjectBeginsWith, filter.subjectEndsWith)}'
    filter: filter
    types: ['Microsoft.Storage.DirectoryRenamed']
  })
)

resource subscriptions 'Microsoft.EventGrid/systemTopics/eventSubscriptions@2025-02-15' = [
  for each in wanted: {
    parent: topic
    name: each.name
    properties: {
      deliveryWithResourceIdentity: {
        identity: {
          type: 'SystemAssigned'
        }
        destination: eventHubId == null ? queue : hub
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
        includedEventTypes: each.types
        subjectBeginsWith: each.filter.subjectBeginsWith
        subjectEndsWith: each.filter.subjectEndsWith
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

var alarms = {
  DeadLetteredCount: 'Event Grid could not deliver events of this account, and put them into the container dead-letters of the storage account of unstale. Whether views are fresh is not known. Why: unstale redrive --dry-run, unstale check --live. Once the cause is mended: unstale redrive'
  DroppedEventCount: 'Event Grid dropped events of this account: neither delivered nor in the dead letters. Mend what unstale check --live finds, then refresh the targets by hand: unstale refresh'
}

// Event Grid itself counts, so the app need not be alive. Of the whole topic, although others may have subscriptions of it:
// a filter by name that Event Grid spells otherwise would be an alert that is never raised.
resource lost 'Microsoft.Insights/metricAlerts@2018-03-01' = [
  for alarm in items(alarms): {
    name: '${owner}-${account}-${alarm.key}'
    location: 'global'
    properties: {
      description: alarm.value
      severity: 1
      enabled: true
      scopes: [topic.id]
      evaluationFrequency: 'PT5M'
      windowSize: 'PT15M'
      criteria: {
        'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
        allOf: [
          {
            name: alarm.key
            criterionType: 'StaticThresholdCriterion'
            metricNamespace: 'Microsoft.EventGrid/systemTopics'
            metricName: alarm.key
            operator: 'GreaterThan'
            threshold: 0
            timeAggregation: 'Total'
          }
        ]
      }
      actions: [
        {
          actionGroupId: actionGroupId
        }
      ]
    }
  }
]
