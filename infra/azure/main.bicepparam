using 'main.bicep'

// `unstale infra azure --write` writes the file; `placements` is yours: where accounts are, if not beside the app.
param sources = loadJsonContent('default.json').sources
param placements = {
  contosolake: {
    resourceGroup: 'contoso-lake'
  }
}
param alertEmail = ''
