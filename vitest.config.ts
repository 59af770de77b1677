import { defineConfig } from 'vitest/config';

/** Native add-ons (DuckDB, Temporal's core) want processes of their own; the fast tier leaves out `*.slow.test.ts`. */
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: process.env.ALMANAC_TEST_TIER === 'slow' ? [] : ['test/**/*.slow.test.ts'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 120_000,
  },
});
