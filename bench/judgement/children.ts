/** Our side as processes: compiled and bundled as the product's children are, started with their flags and environment. */
import { execFile } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { HEAP_FLAGS } from '../../src/engine/engine-child.ts';
import type { Cost } from './cost.ts';

const run = promisify(execFile);
const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const FOLDER = `${ROOT}.cache/bench-judgement`;
const CHILDREN = ['profile-child', 'judge-child'] as const;

export type ChildName = (typeof CHILDREN)[number];

/** Compiles the children and what they import into `.cache/` and bundles them: nobody runs the product through a loader. */
export async function compileChildren(): Promise<void> {
  mkdirSync(FOLDER, { recursive: true });
  const config = {
    extends: `${ROOT}tsconfig.json`,
    compilerOptions: {
      noEmit: false,
      rootDir: ROOT,
      outDir: `${FOLDER}/dist`,
      typeRoots: [`${ROOT}node_modules/@types`],
    },
    include: [`${ROOT}src/**/*.d.ts`],
    files: CHILDREN.map(name => `${ROOT}bench/judgement/${name}.ts`),
  };
  writeFileSync(`${FOLDER}/tsconfig.json`, JSON.stringify(config));
  writeFileSync(`${FOLDER}/package.json`, '{"type":"module"}');
  await run(process.execPath, [`${ROOT}node_modules/typescript/bin/tsc`, '-p', `${FOLDER}/tsconfig.json`]);
  const entries = CHILDREN.map(name => `${name}=bench/judgement/${name}.js`);
  await run(process.execPath, [`${ROOT}scripts/bundle.mjs`, `${FOLDER}/dist`, ...entries]);
}

/** Runs a child to its end; its last line is a JSON object. Wall time is that of the whole process. */
export async function runChild<T extends object>(name: ChildName, args: readonly string[]): Promise<T & Cost> {
  const path = `${FOLDER}/dist/child/${name}.js`;
  const began = performance.now();
  const options = { maxBuffer: 2 ** 26, env: { TZ: 'UTC' } };
  const { stdout } = await run(process.execPath, [...HEAP_FLAGS, path, ...args], options);
  return { wall: (performance.now() - began) / 1000, ...JSON.parse(stdout.trimEnd().split('\n').at(-1)!) };
}
