using 'main.bicep'

// An example, of `unstale.example.toml`: `unstale infra azure --write` makes main.bicepparam, which is yours, and default.json.
// `placements` says where accounts are, if not beside the app.
param sources = loadJsonContent('default.example.json').sources
param placements = {
  contosolake: {
    resourceGroup: 'contoso-lake'
  }
}
// Who uses the command line: no key opens the storage, and an owner of the subscription reads no data. As
// { principalId: '<object id of a group>', principalType: 'Group' }
param operators = []
param alertEmail = ''
