using 'main.bicep'

// An example: `azd up` makes main.bicepparam of it, which is yours; azd sets the variables.
param environmentName = readEnvironmentVariable('AZURE_ENV_NAME')
param location = readEnvironmentVariable('AZURE_LOCATION')
param sources = loadJsonContent('../default.json').sources
// Where the source accounts are, if not in the resource group, subscription and region of this deployment, as
// { contosolake: { resourceGroup: 'contoso-lake' } }
param placements = {}
// Who uses the command line: no key opens the storage, and an owner of the subscription reads no data.
param operators = [{ principalId: readEnvironmentVariable('AZURE_PRINCIPAL_ID'), principalType: 'User' }]
param alertEmail = ''
