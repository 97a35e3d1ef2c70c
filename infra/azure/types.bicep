// What main.bicep and its modules hand each other.

@export()
@description('Which blobs of an account count: a subject begins and ends like this.')
type filterType = {
  subjectBeginsWith: string
  subjectEndsWith: string
}

@export()
@description('A storage account whose blobs are arrivals, as `unstale infra azure` writes it.')
type sourceType = {
  account: string
  @minLength(1)
  filters: filterType[]
}

@export()
@description('Where a source account is, if not in the resource group, subscription and region of this deployment.')
type placementType = {
  subscriptionId: string?
  resourceGroup: string?
  location: string?
  @description('The system topic that the account has already: there is one an account at most. It needs a system-assigned identity.')
  systemTopic: string?
}

@export()
@discriminator('kind')
@description('The event hub that the function reads beside its queue.')
type streamType = noStreamType | ownStreamType | eventstreamType

type noStreamType = {
  kind: 'none'
}

@description('One of its own; Event Grid delivers blob events into it instead of the queue: for many events.')
type ownStreamType = {
  kind: 'own'
}

@description('The custom endpoint of a Fabric eventstream. Its access is given in Fabric, to the identity of the app.')
type eventstreamType = {
  kind: 'eventstream'
  @description('Host name, such as eventstream-x.servicebus.windows.net')
  fullyQualifiedNamespace: string
  eventHub: string
  consumerGroup: string
}

@export()
@discriminator('kind')
@description('As whom Fabric is called; as fabric.identity in unstale.toml.')
type fabricType = managedIdentityType | servicePrincipalType | userType

type managedIdentityType = {
  kind: 'managed-identity'
}

@description('An app registration. With a secret in a Key Vault of this resource group; without, it must trust the identity of the app.')
type servicePrincipalType = {
  kind: 'service-principal'
  tenantId: string
  clientId: string
  secret: keyVaultSecretType?
}

@description('A user who signs in once, by `unstale login`; tenantId and clientId of the public client that is signed in to. See SIGN-IN.md.')
type userType = {
  kind: 'user'
  tenantId: string
  clientId: string
}

@export()
@description('What tokens must say of a workload that is registered with Fabric; for a configuration with [workload].')
type workloadType = {
  @description('The ID URI of the app registration of the workload.')
  audience: string
  @description('The tenant that registered it.')
  publisherTenant: string
  @description('Its client id; without it only tokens of version 1.0 are taken.')
  clientId: string?
}

@export()
@description('A person or group that runs `unstale status`, `redrive` and the like, by object id.')
type operatorType = {
  principalId: string
  principalType: 'User' | 'Group' | 'ServicePrincipal'
}

@export()
type keyVaultSecretType = {
  vault: string
  name: string
}
