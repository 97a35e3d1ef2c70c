// Alerts that Azure Monitor raises whether or not the app is alive, and the workbook: what is stale, since when, why.

@description('What the names of the alerts begin with.')
param name string
@description('Region of the alerts and the workbook.')
param location string
@description('Resource id of the Log Analytics workspace that is asked.')
param workspaceId string
@description('Resource id of the action group that is told.')
param actionGroupId string
@description('Gigabytes a day after which the workspace takes no more; said in the alert.')
param logDailyCapGb int

// What TargetLate and TargetHeld tell of each view, so that the mail names it: the columns of their queries. Each view is
// an alert of its own, raised and resolved by itself.
var columnsOfAView = ['Target', 'Since', 'Why', 'Do']

// Queries are not validated, because a table is there only once something was written into it. Two days are the longest
// window that a log alert takes; a short one is for what is told again and again.
var alerts = {
  UnreadableEvents: {
    description: 'Events lie in the poison queue, so whether views are fresh is not known. See how many, since when and why: unstale redrive --dry-run. Once the cause is mended: unstale redrive'
    query: replace(loadTextContent('queries/unreadable.kql'), '<queue>', 'unstale-events-poison')
    severity: 1
    window: 'P2D'
    operator: 'GreaterThan'
    threshold: 0
  }
  UnreadableWakes: {
    description: 'Wakes lie in the poison queue. Ticks do their work, a little later. See why: unstale redrive --dry-run. Once the cause is mended: unstale redrive'
    query: replace(loadTextContent('queries/unreadable.kql'), '<queue>', 'unstale-wakes-poison')
    severity: 2
    window: 'P2D'
    operator: 'GreaterThan'
    threshold: 0
  }
  EventsNotTaken: {
    description: 'Events have waited for a quarter of an hour: trouble of ours, told in the log, or the app is down. Nothing is lost; they stay until they are taken. See how the views stand: unstale status'
    query: loadTextContent('queries/events-not-taken.kql')
    severity: 1
    window: 'P2D'
    operator: 'GreaterThan'
    threshold: 0
  }
  FunctionFailures: {
    description: 'Calls of functions fail: a bad configuration, a missing setting, storage away. The log says which. Nothing is lost; messages come back. See how the views stand: unstale status'
    query: 'AppRequests | where Success == false'
    severity: 2
    window: 'PT15M'
    operator: 'GreaterThan'
    threshold: 1
  }
  TickMissing: {
    description: 'No tick for ten minutes: the app is down, or its timer stopped. Wakes go on if only the timer did. Look at the log, then restart or publish again: unstale check, unstale status'
    query: 'AppRequests | where Name == "tick"'
    severity: 1
    window: 'PT10M'
    operator: 'LessThan'
    threshold: 1
  }
  LogCapReached: {
    description: 'The log has taken its ${logDailyCapGb} GB of the day (parameter logDailyCapGb) and takes no more until it is reset, so the alerts that read it are blind: TickMissing is raised without cause, TargetLate and TargetHeld are not. Views are refreshed as before. See how they stand: unstale status. The table that grew: Usage in the log'
    query: loadTextContent('queries/cap.kql')
    severity: 1
    window: 'P1D'
    operator: 'GreaterThan'
    threshold: 0
  }
  TargetLate: {
    description: 'A view has been stale for longer than its objective: the one that Target names, since and why as the dimensions beside it say. More: unstale status'
    query: loadTextContent('queries/late.kql')
    columns: columnsOfAView
    severity: 2
    window: 'P2D'
    operator: 'GreaterThan'
    threshold: 0
  }
  TargetHeld: {
    description: 'A view that is owed a refresh is held: blocked by a permanent error, cancelled by somebody, or paused. The dimensions say which one, since when, why and what to do. More: unstale status'
    query: loadTextContent('queries/held.kql')
    columns: columnsOfAView
    severity: 2
    window: 'P2D'
    operator: 'GreaterThan'
    threshold: 0
  }
}

resource rules 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [
  for alert in items(alerts): {
    name: '${name}-${alert.key}'
    location: location
    kind: 'LogAlert'
    properties: {
      description: alert.value.description
      severity: alert.value.severity
      enabled: true
      scopes: [workspaceId]
      evaluationFrequency: 'PT5M'
      windowSize: alert.value.window
      autoMitigate: true
      skipQueryValidation: true
      criteria: {
        allOf: [
          {
            query: alert.value.query
            dimensions: map(alert.value.?columns ?? [], column => {
              name: column
              operator: 'Include'
              values: ['*']
            })
            timeAggregation: 'Count'
            operator: alert.value.operator
            threshold: alert.value.threshold
            failingPeriods: {
              numberOfEvaluationPeriods: 1
              minFailingPeriodsToAlert: 1
            }
          }
        ]
      }
      actions: {
        actionGroups: [actionGroupId]
      }
    }
  }
]

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(resourceGroup().id, name, 'workbook')
  location: location
  kind: 'shared'
  properties: {
    displayName: '${name}: what is stale, since when, why'
    category: 'workbook'
    sourceId: workspaceId
    serializedData: string({ version: 'Notebook/1.0', items: workbookItems })
  }
}

var parts = [
  {
    title: 'What is stale, and since when'
    query: loadTextContent('queries/stale.kql')
  }
  {
    title: 'Why'
    query: loadTextContent('queries/why.kql')
  }
  {
    title: 'Looks at the sources'
    query: loadTextContent('queries/looks.kql')
  }
]

var workbookItems = [
  for part in parts: {
    type: 3
    name: part.title
    content: {
      version: 'KqlItem/1.0'
      title: part.title
      query: part.query
      size: 0
      timeContext: {
        durationMs: 86400000
      }
      queryType: 0
      resourceType: 'microsoft.operationalinsights/workspaces'
      visualization: 'table'
    }
  }
]
