// The system topic of one source account, where the account is; its identity delivers. An account has one at most.

@description('Of the environment: two of them share a topic, and not their alerts.')
param name string
param account string
param location string
@description('The one that is there already; empty to make one.')
param existingTopic string
param actionGroupId string

resource source 'Microsoft.Storage/storageAccounts@2024-01-01' existing = {
  name: account
}

resource made 'Microsoft.EventGrid/systemTopics@2025-02-15' = if (empty(existingTopic)) {
  name: 'unstale-${account}'
  location: location
  identity: {
    type: 'SystemAssigned'
  }
  properties: {
    source: source.id
    topicType: 'Microsoft.Storage.StorageAccounts'
  }
}

resource found 'Microsoft.EventGrid/systemTopics@2025-02-15' existing = if (!empty(existingTopic)) {
  name: existingTopic
}

var topicName = empty(existingTopic) ? 'unstale-${account}' : existingTopic
var alarms = {
  DeadLetteredCount: 'Event Grid could not deliver events of this account and put them into the container dead-letters of the storage account of unstale. Whether views are fresh is not known. Look at the role of the topic: unstale check --live'
  DroppedEventCount: 'Event Grid dropped events of this account: neither delivered nor in the dead letters. Refresh the targets by hand (unstale refresh), and look at the roles of the topic: unstale check --live'
}

// Event Grid itself counts, so the app need not be alive.
resource lost 'Microsoft.Insights/metricAlerts@2018-03-01' = [
  for alarm in items(alarms): {
    name: '${name}-${account}-${alarm.key}'
    location: 'global'
    properties: {
      description: alarm.value
      severity: 1
      enabled: true
      scopes: [resourceId('Microsoft.EventGrid/systemTopics', topicName)]
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
    dependsOn: [made]
  }
]

output name string = topicName
output principalId string = empty(existingTopic) ? made!.identity.principalId : found!.identity.principalId
