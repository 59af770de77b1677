/** The import table of the house, as data. A forbidden import fails here, not in a review. */
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const source = fileURLToPath(new URL('../src', import.meta.url));

/** Folder → folders it may import from (types and values), and packages; `type:` allows `import type` alone. */
const table: Record<string, { readonly folders: readonly string[]; readonly packages: readonly string[] }> = {
  domain: { folders: [], packages: [] },
  stats: { folders: [], packages: [] },
  checks: { folders: ['domain', 'stats'], packages: [] },
  onnx: { folders: ['domain', 'engine/trees'], packages: ['@bufbuild/protobuf', 'node:', 'zod'] },
  storage: {
    folders: ['domain', 'config'],
    packages: ['node:', '@aws-sdk/', '@smithy/', 'hyparquet-writer', 'hyparquet'],
  },
  engine: {
    folders: ['domain', 'stats', 'checks', 'onnx', 'trainers', 'config'],
    packages: ['node:', '@duckdb/node-api', '@duckdb/node-bindings', 'onnxruntime-node', '@bufbuild/protobuf'],
  },
  inputs: { folders: ['domain', 'storage', 'engine'], packages: ['node:'] },
  trainers: { folders: ['domain', 'stats', 'onnx', 'config', 'engine'], packages: ['node:', 'zod'] },
  backtest: { folders: ['domain', 'stats', 'checks'], packages: [] },
  config: { folders: ['domain'], packages: ['node:', 'yaml', 'zod'] },
  report: { folders: ['domain', 'stats'], packages: [] },
  activities: {
    folders: ['domain', 'stats', 'checks', 'storage', 'engine', 'inputs', 'onnx', 'trainers', 'config', 'report'],
    packages: ['node:', '@temporalio/activity', '@temporalio/common', '@temporalio/client'],
  },
  workflows: {
    folders: ['domain', 'stats', 'checks', 'type:activities'],
    packages: ['@temporalio/workflow', '@temporalio/common'],
  },
  schedules: { folders: ['domain', 'type:workflows'], packages: ['@temporalio/client', '@temporalio/common'] },
  dev: { folders: ['config', 'domain'], packages: ['node:', '@temporalio/'] },
  workers: {
    folders: ['activities', 'workflows', 'config', 'domain', 'storage', 'engine', 'inputs', 'trainers', 'dev'],
    packages: ['node:', '@temporalio/'],
  },
  cli: {
    folders: [
      'config',
      'domain',
      'stats',
      'checks',
      'storage',
      'schedules',
      'dev',
      'report',
      'engine',
      'inputs',
      'backtest',
      'trainers',
      'onnx',
      'workers',
      'type:workflows',
      'type:activities',
    ],
    packages: ['node:', '@temporalio/client', '@temporalio/common', 'commander', 'picocolors'],
  },
};

interface Import {
  readonly file: string;
  readonly specifier: string;
  readonly typeOnly: boolean;
}

const files = readdirSync(source, { recursive: true, encoding: 'utf8' })
  .filter(name => name.endsWith('.ts') && !name.includes('generated'))
  .map(name => name.replaceAll('\\', '/'));
const imports = files.flatMap(importsOf);

test('every folder of src stands in the import table', () => {
  const folders = new Set(files.map(name => name.split('/')[0] ?? ''));
  expect([...folders].filter(folder => !(folder in table))).toEqual([]);
});

test('no file imports what its folder may not', () => {
  expect(imports.filter(forbidden).map(({ file, specifier }) => `${file} imports ${specifier}`)).toEqual([]);
});

test('the compiled trees know nothing of DuckDB, ONNX Runtime or Temporal', () => {
  const trees = imports.filter(({ file }) => file.startsWith('engine/trees/'));
  const outside = trees.filter(({ specifier }) => !specifier.startsWith('.') && !specifier.startsWith('node:'));
  expect(trees.length).toBeGreaterThan(0);
  expect(outside).toEqual([]);
});

test('only config reads the environment of the process', () => {
  const readers = files.filter(name => /\bprocess\.env\b/.test(stripComments(name)));
  expect(readers.filter(name => !name.startsWith('config/'))).toEqual([]);
});

test('workflows and rules hold no module state that a run could change', () => {
  const stateful = files.filter(
    name => /^(workflows|domain|checks|stats)\//.test(name) && /^(export )?(let|var) /m.test(stripComments(name)),
  );
  expect(stateful).toEqual([]);
});

test('ONNX Runtime is loaded by the engine children alone', () => {
  const loaders = imports.filter(({ specifier }) => specifier.startsWith('onnxruntime-node'));
  expect(loaders.filter(({ file }) => !file.startsWith('engine/'))).toEqual([]);
});

test('all Temporal packages stand at one exact version', () => {
  const manifest: unknown = JSON.parse(readFileSync(join(source, '../package.json'), 'utf8'));
  const dependencies =
    typeof manifest === 'object' && manifest !== null && 'dependencies' in manifest ? manifest.dependencies : {};
  const versions = Object.entries(dependencies ?? {}).filter(([name]) => name.startsWith('@temporalio/'));
  expect(versions.length).toBeGreaterThanOrEqual(7);
  expect(new Set(versions.map(([, version]) => version)).size).toBe(1);
});

test('every dependency has an exact version', () => {
  const manifest = readFileSync(join(source, '../package.json'), 'utf8');
  expect(manifest).not.toMatch(/"[\^~>]\d/);
});

function importsOf(file: string): Import[] {
  const text = stripComments(file);
  const pattern =
    /(?:^|\n)\s*(import|export)\s+(type\s)?[^'"\n;]*?(?:\{[^}]*\})?[^'"\n;]*?from\s+['"]([^'"]+)['"]|(?:^|\n)\s*import\s+['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]/g;
  return [...text.matchAll(pattern)]
    .map(match => ({
      file,
      specifier: match[3] ?? match[4] ?? match[5] ?? '',
      typeOnly: match[2] !== undefined,
    }))
    .filter(({ specifier }) => !specifier.startsWith('${'));
}

function forbidden({ file, specifier, typeOnly }: Import): boolean {
  const folder = file.split('/')[0] ?? '';
  const allowed = table[folder];
  if (allowed === undefined) return false;
  if (!specifier.startsWith('.')) return !allowed.packages.some(name => matchesPackage(specifier, name));
  const target = relative(source, join(source, file, '..', specifier)).replaceAll('\\', '/');
  if (target.split('/')[0] === folder) return false;
  return !allowed.folders.some(entry => {
    const name = entry.replace(/^type:/, '');
    return (target === name || target.startsWith(`${name}/`)) && (typeOnly || !entry.startsWith('type:'));
  });
}

function matchesPackage(specifier: string, name: string): boolean {
  return specifier === name || (/[:/]$/.test(name) ? specifier.startsWith(name) : specifier.startsWith(`${name}/`));
}

function stripComments(file: string): string {
  return readFileSync(join(source, file), 'utf8')
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/(^|\s)\/\/.*$/gm, '$1');
}
