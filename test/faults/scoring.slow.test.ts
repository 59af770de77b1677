/** Each disturbance of a scoring job once, side by side: most of their time is waiting for missed heartbeats. */
import { afterAll, beforeAll, describe, test } from 'vitest';
import { disturbances } from './support/disturbances.ts';
import { type Lab, openLab } from './support/lab.ts';

const seed = 1;
let lab: Lab;
beforeAll(async () => {
  lab = await openLab();
}, 240_000);
afterAll(async () => await lab?.close());

describe.concurrent('a scoring job ends with the rows of an undisturbed one, in every column', () => {
  for (const { name, run } of disturbances) test(name, { timeout: 600_000 }, () => run(lab, seed));
});
