// What `azd up` provisions: a resource group with the name that it asked for, and in it what ../main.bicep deploys.

import { operatorType, placementType, sourceType } from '../types.bicep'

targetScope = 'subscription'

@description('The name that azd asks for; the resource group is called after it.')
@minLength(1)
@maxLength(60)
param environmentName string

@description('The region that azd asks for.')
param location string

@description('From `unstale infra azure --write`: which blobs are arrivals.')
param sources sourceType[]

@description('By account: where it is, and the system topic that it has already.')
param placements { *: placementType } = {}

@description('Who may use the command line on this deployment; whoever runs azd, at first.')
param operators operatorType[] = []

@description('Who gets alerts by e-mail; nobody if empty.')
param alertEmail string = ''

resource group 'Microsoft.Resources/resourceGroups@2024-03-01' = {
  name: 'unstale-${environmentName}'
  location: location
  tags: { 'azd-env-name': environmentName }
}

module unstale '../main.bicep' = {
  name: 'unstale'
  scope: group
  params: {
    location: location
    sources: sources
    placements: placements
    operators: operators
    alertEmail: alertEmail
  }
}

@description('The resource group.')
output AZURE_RESOURCE_GROUP string = group.name
@description('Name of the app, for publishing.')
output UNSTALE_APP string = unstale.outputs.functionAppName
@description('The name by which the command finds the deployment.')
output UNSTALE_STACK string = '${subscription().subscriptionId}/${group.name}/${unstale.name}'
