// What main.bicep and its modules hand each other.

@export()
@description('Which events of an account count: a subject begins and ends like this.')
type filterType = {
  @description('Container and prefix, as `/blobServices/default/containers/<container>/blobs/<prefix>`.')
  subjectBeginsWith: string
  @description('How names end; empty for any.')
  subjectEndsWith: string
}

@export()
@description('A storage account whose blobs are arrivals, as `unstale infra azure` writes it.')
type sourceType = {
  @description('Name of the account.')
  account: string
  @description('Files: which ones, written or renamed, are arrivals.')
  @minLength(1)
  filters: filterType[]
  @description('Renamed directories: in which containers. A directory has no suffix, and may be a parent of the prefix.')
  @minLength(1)
  directories: filterType[]
}

@export()
@description('Where a source account is, if not in the resource group, subscription and region of this deployment.')
type placementType = {
  @description('Id of its subscription.')
  subscriptionId: string?
  @description('Name of its resource group.')
  resourceGroup: string?
  @description('Its region.')
  location: string?
  @description('The system topic that the account has already: there is one an account at most. It needs a system-assigned identity.')
  systemTopic: string?
}

@export()
@discriminator('kind')
@description('The event hub that the function reads beside its queue.')
type streamType = noStreamType | ownStreamType | eventstreamType

@description('None: blob events come by the queue.')
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
  @description('Name of the event hub, such as es_4b218778-e7a5-4d73-8187-f10824047715')
  eventHub: string
  @description('Name of the consumer group that the endpoint shows.')
  consumerGroup: string
}

@export()
@discriminator('kind')
@description('As whom Fabric is called; as fabric.identity in unstale.toml.')
type fabricType = managedIdentityType | servicePrincipalType | userType

@description('The identity of the app.')
type managedIdentityType = {
  kind: 'managed-identity'
}

@description('An app registration. With a secret in a Key Vault of this resource group; without, it must trust the identity of the app.')
type servicePrincipalType = {
  kind: 'service-principal'
  @description('Its tenant.')
  tenantId: string
  @description('Its application id.')
  clientId: string
  @description('Where its secret is; without one it proves itself by the identity of the app.')
  secret: keyVaultSecretType?
}

@description('A user who signs in once, by `unstale login`. See SIGN-IN.md.')
type userType = {
  kind: 'user'
  @description('The tenant of the user.')
  tenantId: string
  @description('The public client that is signed in to.')
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
  @description('Object id in Entra.')
  principalId: string
  @description('What it is.')
  principalType: 'User' | 'Group' | 'ServicePrincipal'
}

@export()
@description('Who may see the page without reading the table.')
type pageType = {
  @description('Who may read what ticks write for the page, and nothing else of the account.')
  readers: operatorType[]
}

@export()
@description('A secret in a Key Vault of this resource group.')
type keyVaultSecretType = {
  @description('Name of the vault.')
  vault: string
  @description('Name of the secret.')
  name: string
}

@export()
@description('A key in a Key Vault of this resource group, which has purge protection and role-based access.')
type customerManagedKeyType = {
  @description('Name of the vault.')
  vault: string
  @description('Name of the key; its newest version is used.')
  name: string
}

@export()
@description('The key that encrypts the storage account, and as whom the account uses it.')
type encryptionType = {
  @description('Resource id of the account\'s identity.')
  identityId: string
  @description('Address of the vault.')
  vaultUrl: string
  @description('Name of the key.')
  keyName: string
}

@export()
@description('Who reaches the vault of a signed-in user, and whether its log says who used it. Without addresses and subnet: whoever has a role.')
type vaultAccessType = {
  @description('Subnet of the app: delegated to Microsoft.App/environments, with the service endpoint Microsoft.KeyVault.')
  subnetId: string?
  @description('Addresses and ranges from which `unstale login` is run, as 203.0.113.7 or 203.0.113.0/24.')
  allowedAddresses: string[]?
  @description('Whether every use of the key goes into the log.')
  auditLog: bool?
}

@export()
@description('A custom topic of Event Grid that outcome events are sent to (`[[tell]]`); it takes the schema CloudEvents 1.0.')
type tellTopicType = {
  @description('Name of the topic.')
  name: string
  @description('Its resource group, if not that of the deployment.')
  resourceGroup: string?
  @description('Id of its subscription, if not that of the deployment.')
  subscriptionId: string?
}

@export()
@description('A secret of a webhook that outcome events are sent to: its address, or what they are signed with (`[[tell]]`).')
type tellSecretType = {
  @description('Name of the vault, which has role-based access.')
  vault: string
  @description('Name of the secret.')
  name: string
  @description('The resource group of the vault, if not that of the deployment.')
  resourceGroup: string?
  @description('Id of the subscription of the vault, if not that of the deployment.')
  subscriptionId: string?
}
