// The function app on a Flex Consumption plan: its code from a container, everything else by identity.

import { fabricType, workloadType } from 'types.bicep'

param name string
param location string
param instanceMemoryMB int
param maximumInstanceCount int
param identityName string
param packageUrl string
param storageAccountName string
param queueUrl string
param tableUrl string
param blobUrl string
param applicationInsightsName string
param fabric fabricType
param fabricUrl string
@description('Where the key of a signed-in user is; null for other identities.')
param keyVaultUrl string?
param workload workloadType?
@description('Host name, hub and consumer group of the event hub; null without one.')
param stream {
  fullyQualifiedNamespace: string
  eventHub: string
  consumerGroup: string
}?

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: identityName
}

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: applicationInsightsName
}

resource plan 'Microsoft.Web/serverfarms@2024-04-01' = {
  name: name
  location: location
  kind: 'functionapp'
  sku: {
    name: 'FC1'
    tier: 'FlexConsumption'
  }
  properties: {
    reserved: true
  }
}

resource app 'Microsoft.Web/sites@2024-04-01' = {
  name: name
  location: location
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identity.id}': {}
    }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    keyVaultReferenceIdentity: identity.id
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: packageUrl
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identity.id
          }
        }
      }
      runtime: {
        name: 'python'
        version: '3.13'
      }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMB
        maximumInstanceCount: maximumInstanceCount
      }
    }
    siteConfig: {
      minTlsVersion: '1.2'
      ftpsState: 'Disabled'
      http20Enabled: true
    }
  }

  // Nobody publishes with a password.
  resource ftp 'basicPublishingCredentialsPolicies' = {
    name: 'ftp'
    properties: {
      allow: false
    }
  }

  resource scm 'basicPublishingCredentialsPolicies' = {
    name: 'scm'
    properties: {
      allow: false
    }
  }

  resource settings 'config' = {
    name: 'appsettings'
    properties: union(hostSettings, storageSettings, fabricSettings, workloadSettings, streamSettings)
  }
}

var hostSettings = {
  AzureWebJobsStorage__accountName: storageAccountName
  AzureWebJobsStorage__credential: 'managedidentity'
  AzureWebJobsStorage__clientId: identity.properties.clientId
  // Where to send, and no key: the component takes nothing without a token.
  APPLICATIONINSIGHTS_CONNECTION_STRING: insights.properties.ConnectionString
  APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identity.properties.clientId};Authorization=AAD'
  // As many messages as host.json lets in at once (batchSize + newBatchThreshold).
  PYTHON_THREADPOOL_THREAD_COUNT: '24'
  // Bytes. The worker gets bodies whole; ours end at 1 MiB (shared/workload), Event Grid's pushes at 1 MB and their envelope.
  // https://learn.microsoft.com/azure/azure-functions/functions-app-settings#functions_request_body_size_limit
  FUNCTIONS_REQUEST_BODY_SIZE_LIMIT: '2097152'
}

var storageSettings = {
  UNSTALE_STORAGE__tableServiceUri: tableUrl
  UNSTALE_STORAGE__queueServiceUri: queueUrl
  UNSTALE_STORAGE__blobServiceUri: blobUrl
  UNSTALE_STORAGE__credential: 'managedidentity'
  UNSTALE_STORAGE__clientId: identity.properties.clientId
}

var secret = fabric.kind == 'service-principal' ? fabric.?secret : null
var fabricSettings = union(
  {
    UNSTALE_FABRIC_URL: fabricUrl
    UNSTALE_CLIENT_ID: fabric.kind == 'managed-identity' ? identity.properties.clientId : fabric.clientId
  },
  fabric.kind == 'managed-identity' ? {} : { UNSTALE_TENANT_ID: fabric.tenantId },
  fabric.kind == 'user' ? { UNSTALE_KEY_VAULT_URL: keyVaultUrl! } : {},
  secret == null
    ? {}
    : { UNSTALE_CLIENT_SECRET: '@Microsoft.KeyVault(VaultName=${secret!.vault};SecretName=${secret!.name})' }
)

// Nothing secret: whom Fabric's calls must name. Their signatures are judged by Entra's public keys.
var workloadSettings = workload == null
  ? {}
  : {
      UNSTALE_WORKLOAD_AUDIENCE: workload!.audience
      UNSTALE_WORKLOAD_PUBLISHER_TENANT: workload!.publisherTenant
      UNSTALE_WORKLOAD_CLIENT_ID: workload!.?clientId ?? ''
    }

var streamSettings = stream == null
  ? {}
  : {
      UNSTALE_EVENTS__fullyQualifiedNamespace: stream!.fullyQualifiedNamespace
      UNSTALE_EVENTS__credential: 'managedidentity'
      UNSTALE_EVENTS__clientId: identity.properties.clientId
      UNSTALE_EVENT_HUB: stream!.eventHub
      UNSTALE_EVENT_HUB_CONSUMER_GROUP: stream!.consumerGroup
    }

output appName string = app.name
output hostName string = app.properties.defaultHostName
