// Bundles what an engine child loads, from compiled code: `node scripts/bundle-children.mjs [dist [NAME=ENTRY …]]`. Children are started
// often, and finding and reading the 300 modules of a scoring job costs twice the CPU time of reading a few files.
// Verbs stay lazy: each is a file of its own beside the entries, and so is what several of them share.
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

/** The child and the threads it starts by name. */
const childEntries = {
  child: 'engine/child.js',
  thread: 'engine/batched/thread.js',
  'helper-thread': 'trainers/gbdt/helper-thread.js',
};

/** Writes `<dist>/child/`: the entries and the chunks they share, all in one folder. */
export async function bundleChildren(dist, entries = childEntries) {
  const outdir = join(dist, 'child');
  await rm(outdir, { recursive: true, force: true });
  await build({
    outdir,
    entryPoints: Object.fromEntries(Object.entries(entries).map(([name, file]) => [name, join(dist, file)])),
    bundle: true,
    splitting: true,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    sourcemap: true,
    chunkNames: 'chunk-[hash]',
    // Native code finds its libraries beside itself.
    external: ['@duckdb/node-bindings', 'onnxruntime-node'],
    // CommonJS packages in a bundle still call `require` for what is outside.
    banner: {
      js: "import { createRequire as almanacRequire } from 'node:module';\nconst require = almanacRequire(import.meta.url);",
    },
    plugins: [{ name: 'duckdb-client', setup: bundleDuckdbClient }],
    logLevel: 'warning',
  });
}

/** `duckdb-api.js` hides DuckDB's client from Node's module loader; the bundler is to see it. */
function bundleDuckdbClient({ onLoad }) {
  const hidden = "createRequire(import.meta.url)('@duckdb/node-api')";
  onLoad({ filter: /[/\\]engine[/\\]duckdb-api\.js$/ }, async ({ path }) => {
    const code = await readFile(path, 'utf8');
    if (!code.includes(hidden)) throw new Error(`${path} does not load DuckDB's client with ${hidden}`);
    return { contents: code.replace(hidden, "require('@duckdb/node-api')"), loader: 'js' };
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [dist = fileURLToPath(new URL('../dist', import.meta.url)), ...entries] = process.argv.slice(2);
  await bundleChildren(
    dist,
    entries.length === 0 ? undefined : Object.fromEntries(entries.map(text => text.split('='))),
  );
}
