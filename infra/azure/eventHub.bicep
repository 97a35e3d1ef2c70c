// The event hub that Event Grid delivers into where blob events are too many for a queue.

param name string
param location string

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
    name: 'unstale-events'
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

output fullyQualifiedNamespace string = split(split(namespace.properties.serviceBusEndpoint, '://')[1], ':')[0]
output hub string = namespace::hub.name
output hubId string = namespace::hub.id
output consumerGroup string = namespace::hub::readers.name
