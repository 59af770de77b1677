// Bundles what starts often, from compiled code: `node scripts/bundle.mjs [dist [NAME=ENTRY …]]`. Finding and reading the
// 300 modules of a scoring job costs twice the CPU time of reading a few files. Commands and verbs stay lazy: each is a
// file of its own beside the entries, and so is what several of them share.
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

/** The engine child and the threads it starts by name. */
const childEntries = {
  child: 'engine/child.js',
  thread: 'engine/batched/thread.js',
  'helper-thread': 'trainers/gbdt/helper-thread.js',
};

/** The command, the processes it starts by name, and the threads of `almanac backtest`. */
const commandEntries = {
  almanac: 'cli/main.js',
  main: 'workers/main.js',
  'sdk-download': 'dev/sdk-download.js',
  'learner-thread': 'trainers/learner-thread.js',
  'helper-thread': 'trainers/gbdt/helper-thread.js',
};

/** Writes `<dist>/child/` from the entries. */
export async function bundleChildren(dist, entries = childEntries) {
  await bundle({ dist, folder: 'child', entries });
}

/** Writes `<dist>/command/`, which starts children from `<dist>/child/`. */
export async function bundleCommand(dist) {
  await bundle({ dist, folder: 'command', entries: commandEntries });
}

/** Writes the entries and the chunks they share, all in one folder: modules find each other's files beside them. */
async function bundle({ dist, folder, entries }) {
  const outdir = join(dist, folder);
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
    chunkNames: '[name]-[hash]',
    // Native code finds its libraries beside itself, and Temporal's packages their data; one copy of each tells its errors.
    external: ['@duckdb/node-bindings', 'onnxruntime-node', '@temporalio/*'],
    // CommonJS packages in a bundle still call `require` for what is outside.
    banner: {
      js: "import { createRequire as almanacRequire } from 'node:module';\nconst require = almanacRequire(import.meta.url);",
    },
    plugins: [
      { name: 'duckdb-client', setup: bundleDuckdbClient },
      { name: 'duckdb-library', setup: findDuckdbLibrary },
    ],
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

/**
 * DuckDB's library without asking first which C library this machine has, which takes as long as loading it: npm installs
 * what fits, and where that fails its own package searches.
 */
function findDuckdbLibrary({ onResolve, onLoad }) {
  const name = '@duckdb/node-bindings';
  const namespace = 'duckdb-library';
  onResolve({ filter: new RegExp(`^${name}$`) }, ({ importer }) =>
    importer === name ? { path: name, external: true } : { path: name, namespace },
  );
  onLoad({ filter: /.*/, namespace }, () => ({
    contents: `
      let library;
      try {
        library = require(\`${name}-\${process.platform}-\${process.arch}/duckdb.node\`);
      } catch {
        library = require('${name}');
      }
      module.exports = library;`,
    loader: 'js',
  }));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [dist = fileURLToPath(new URL('../dist', import.meta.url)), ...entries] = process.argv.slice(2);
  if (entries.length > 0) await bundleChildren(dist, Object.fromEntries(entries.map(text => text.split('='))));
  else {
    await bundleChildren(dist);
    await bundleCommand(dist);
  }
}
