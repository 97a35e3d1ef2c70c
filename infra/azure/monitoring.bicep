// Where logs go, and who is told.

@description('Name of the workspace, the component and the action group.')
param name string
@description('Region of the workspace and the component.')
param location string
@description('Days that the log is kept.')
param retentionDays int
@description('Gigabytes a day that the workspace takes; what comes beyond is not kept.')
param dailyCapGb int
@description('Who gets alerts by e-mail; nobody if empty.')
param alertEmail string

resource workspace 'Microsoft.OperationalInsights/workspaces@2023-09-01' = {
  name: name
  location: location
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: retentionDays
    // Whoever calls the app's address writes lines, let in or not: without a cap they decide what the log costs.
    workspaceCapping: {
      dailyQuotaGb: dailyCapGb
    }
    features: {
      disableLocalAuth: true
    }
  }
}

resource insights 'Microsoft.Insights/components@2020-02-02' = {
  name: name
  location: location
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: workspace.id
    DisableLocalAuth: true
  }
}

resource people 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: name
  location: 'global'
  properties: {
    enabled: true
    groupShortName: 'unstale'
    emailReceivers: empty(alertEmail)
      ? []
      : [
          {
            name: 'alerts'
            emailAddress: alertEmail
            useCommonAlertSchema: true
          }
        ]
  }
}

@description('Resource id of the Log Analytics workspace.')
output workspaceId string = workspace.id
@description('Resource id of the action group.')
output actionGroupId string = people.id
