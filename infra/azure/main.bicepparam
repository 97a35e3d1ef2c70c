using 'main.bicep'

// `unstale infra azure --write` writes the file; `placements` is yours: where accounts are, if not beside the app.
param sources = loadJsonContent('default.json').sources
param placements = {
  contosolake: {
    resourceGroup: 'contoso-lake'
  }
}
// Who uses the command line: no key opens the storage, and an owner of the subscription reads no data. As
// { principalId: '<object id of a group>', principalType: 'Group' }
param operators = []
param alertEmail = ''
