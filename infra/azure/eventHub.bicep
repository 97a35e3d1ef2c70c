// The event hub that Event Grid delivers into where blob events are too many for a queue.

@description('Name of the namespace; all of Azure shares such names.')
param name string
@description('Name of the event hub in it.')
param hubName string
@description('Region of the namespace.')
param location string
@description('Resource id of the action group that is told when events are not read.')
param actionGroupId string

resource namespace 'Microsoft.EventHub/namespaces@2024-01-01' = {
  name: name
  location: location
  sku: {
    name: 'Standard'
    tier: 'Standard'
    capacity: 1
  }
  properties: {
    disableLocalAuth: true
    isAutoInflateEnabled: true
    maximumThroughputUnits: 4
    minimumTlsVersion: '1.2'
  }

  resource hub 'eventhubs' = {
    name: hubName
    properties: {
      // As many instances as there are partitions can read at once.
      partitionCount: 4
      // Events wait as long as they do in the queue.
      retentionDescription: {
        cleanupPolicy: 'Delete'
        retentionTimeInHours: 168
      }
    }

    resource readers 'consumergroups' = {
      name: 'unstale'
    }
  }
}

// What comes in must go out: the namespace itself counts, so the app need not be alive.
resource stuck 'Microsoft.Insights/metricAlerts@2018-03-01' = {
  name: '${name}-EventsNotRead'
  location: 'global'
  properties: {
    description: 'Events came into the event hub, and for half an hour none was read: trouble of ours, told in the log, or the app is down. Nothing is lost; they stay for a week. See how the views stand: unstale status'
    severity: 1
    enabled: true
    scopes: [namespace.id]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT30M'
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          name: 'came'
          criterionType: 'StaticThresholdCriterion'
          metricNamespace: 'Microsoft.EventHub/namespaces'
          metricName: 'IncomingMessages'
          operator: 'GreaterThan'
          threshold: 0
          timeAggregation: 'Total'
        }
        {
          name: 'read'
          criterionType: 'StaticThresholdCriterion'
          metricNamespace: 'Microsoft.EventHub/namespaces'
          metricName: 'OutgoingMessages'
          operator: 'LessThan'
          threshold: 1
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

@description('Host name of the namespace.')
output fullyQualifiedNamespace string = split(split(namespace.properties.serviceBusEndpoint, '://')[1], ':')[0]
@description('The consumer group that only the app reads with.')
output consumerGroup string = namespace::hub::readers.name
