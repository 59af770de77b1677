// Bundles what an engine child loads, from compiled code: `node scripts/bundle-children.mjs [dist]`. Children are started
// often, and finding and reading the 300 modules of a scoring job costs twice the CPU time of reading a few files.
// Verbs stay lazy: each is a file of its own beside the entries, and so is what several of them share.
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

/** Writes `<dist>/child/`: the child, the threads it starts by name, and their chunks, all in one folder. */
export async function bundleChildren(dist) {
  const outdir = join(dist, 'child');
  await rm(outdir, { recursive: true, force: true });
  await build({
    outdir,
    entryPoints: {
      child: join(dist, 'engine/child.js'),
      thread: join(dist, 'engine/batched/thread.js'),
      'helper-thread': join(dist, 'trainers/gbdt/helper-thread.js'),
    },
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
  await bundleChildren(process.argv[2] ?? fileURLToPath(new URL('../dist', import.meta.url)));
}
