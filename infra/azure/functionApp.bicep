// The function app on a Flex Consumption plan: its code from a container, everything else by identity.
//
// What a Flex site may say of itself is less than what the resource type allows, and neither compiler nor snapshot knows:
// tests/infra/test_azure.py holds each property of siteConfig and each setting against what is known to be taken.

import { fabricType, workloadType } from 'types.bicep'

@description('Name of app and plan; all of Azure shares such names.')
param name string
@description('Region of app and plan.')
param location string
@description('Memory of an instance.')
param instanceMemoryMB int
@description('The most instances of one function.')
param maximumInstanceCount int
@description('Name of the identity that the app works as.')
param identityName string
@description('Resource id of the identity that only publishes and fetches the package.')
param packageIdentityId string
@description('Address of the container for the package.')
param packageUrl string
@description('Address of the queues of the storage account.')
param queueUrl string
@description('Address of its tables.')
param tableUrl string
@description('Address of its blobs.')
param blobUrl string
@description('Name of the Application Insights component.')
param applicationInsightsName string
@description('As whom Fabric is called.')
param fabric fabricType
@description('In which cloud all of this is.')
param cloud string
@description('Addresses that differ from those of the cloud, by variable; empty ones do not.')
param addresses { UNSTALE_AUTHORITY: string, UNSTALE_FABRIC_URL: string, UNSTALE_ONELAKE_URL: string }
@description('Whether Event Grid calls the function itself, beside the queue (push.bicep).')
param push bool
@description('Container that ticks write what the page shows into; null for none.')
param pageContainer string?
@description('Subnet through which the app calls; null for none.')
param subnetId string?
@description('Where the key of a signed-in user is; null for other identities.')
param keyVaultUrl string?
@description('What tokens must say of a workload; null for a configuration without [workload].')
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
      '${packageIdentityId}': {}
    }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    keyVaultReferenceIdentity: identity.id
    virtualNetworkSubnetId: subnetId
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: packageUrl
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: packageIdentityId
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
      http20Enabled: true
    }
  }

  // Nobody publishes with a password. That is also what closes FTP: Flex Consumption takes no siteConfig.ftpsState.
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
    properties: union(
      hostSettings,
      storageSettings,
      cloudSettings,
      fabricSettings,
      workloadSettings,
      streamSettings,
      pushSettings,
      pageSettings
    )
  }
}

var hostSettings = {
  // By address, because the host makes addresses of the public cloud out of an account's name.
  AzureWebJobsStorage__blobServiceUri: blobUrl
  AzureWebJobsStorage__queueServiceUri: queueUrl
  AzureWebJobsStorage__tableServiceUri: tableUrl
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

// Of the addresses that follow from the cloud only those that were given by hand are set: a variable wins.
var cloudSettings = union(
  { UNSTALE_CLOUD: cloud },
  toObject(filter(items(addresses), each => !empty(each.value)), each => each.key, each => each.value)
)

var secret = fabric.kind == 'service-principal' ? fabric.?secret : null
var fabricSettings = union(
  {
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

// The function that Event Grid calls is there only where it is to be called.
var pushSettings = push ? { UNSTALE_PUSH: 'true' } : {}

// It is in reach of the host's role already.
var pageSettings = pageContainer == null ? {} : { UNSTALE_PAGE_CONTAINER: pageContainer! }

@description('Name of the app.')
output appName string = app.name
@description('Its host name, under which Fabric calls a workload.')
output hostName string = app.properties.defaultHostName
