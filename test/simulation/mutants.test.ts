import { resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { loadMutant, mutants } from './mutants.ts';
import { runSeeds } from './run-seeds.ts';

const folder = resolve(import.meta.dirname, '../../.cache/mutants');

describe('the simulation catches code that', () => {
  test.each(mutants)('$name', { timeout: 300_000 }, async mutant => {
    const implementation = await loadMutant(mutant, folder);
    const report = await runSeeds({ from: 1, count: mutant.seeds, implementation, failuresMax: 1, shrink: false });
    expect(report.failures).toHaveLength(1);
    expect(report.failures[0]!.violation).toMatch(/^[ID]\d+: /);
  });
});
