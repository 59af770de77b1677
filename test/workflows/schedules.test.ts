/** Schedules of a real server are made what the definitions want, and nothing that a person did to them is undone. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { applySchedules, planFor, presentSchedules } from '../../src/schedules/apply.ts';
import type { DesiredSchedule } from '../../src/schedules/desired.ts';
import { openTestTemporal, type TestTemporal, until } from '../support/temporal.ts';

let temporal: TestTemporal;
beforeAll(async () => {
  temporal = await openTestTemporal();
});
afterAll(async () => await temporal?.close());

const score: DesiredSchedule = {
  id: 'almanac/churn/score',
  workflowType: 'scoreModel',
  model: 'churn',
  at: { hour: 2, minute: 0, weekday: null },
  catchupMs: 26 * 3_600_000,
};
const retrain: DesiredSchedule = {
  ...score,
  id: 'almanac/churn/retrain',
  workflowType: 'trainModel',
  at: { hour: 3, minute: 30, weekday: 0 },
};

/** Applies what these schedules need and gives the kinds of the changes; the server lists a new schedule a moment later. */
async function apply(desired: readonly DesiredSchedule[]): Promise<readonly string[]> {
  const plan = await planFor(temporal.client, desired);
  await applySchedules(temporal.client, plan);
  const made = plan.filter(({ kind }) => kind === 'create').length;
  const before = (await presentSchedules(temporal.client)).length;
  if (made > 0)
    await until(async () => (await presentSchedules(temporal.client)).length >= Math.max(before, desired.length));
  return plan.map(({ kind }) => kind);
}

async function present(id: string) {
  return (await presentSchedules(temporal.client)).find(schedule => schedule.id === id);
}

test('a plan is carried out once: applied again, it changes nothing', async () => {
  expect(await apply([score, retrain])).toEqual(['create', 'create']);
  expect(await present(score.id)).toEqual({ ...score, paused: false, withdrawn: false });
  expect(await present(retrain.id)).toEqual({ ...retrain, paused: false, withdrawn: false });
  expect(await apply([score, retrain])).toEqual(['keep', 'keep']);
});

test('a changed time is updated, and a pause by a person stays', async () => {
  await temporal.client.schedule.getHandle(score.id).pause('holidays');
  const later = { ...score, at: { hour: 4, minute: 15, weekday: null } };
  expect(await apply([later, retrain])).toEqual(['update', 'keep']);
  expect(await present(score.id)).toEqual({ ...later, paused: true, withdrawn: false });
  expect(await apply([score, retrain])).toEqual(['update', 'keep']);
  await temporal.client.schedule.getHandle(score.id).unpause();
});

test('a schedule that nothing wants is paused, and runs again when it is wanted again', async () => {
  expect(await apply([score])).toEqual(['keep', 'pause']);
  expect(await present(retrain.id)).toMatchObject({ paused: true, withdrawn: true });
  expect(await apply([score])).toEqual(['keep']);
  expect(await apply([score, retrain])).toEqual(['keep', 'update']);
  expect(await present(retrain.id)).toMatchObject({ paused: false, withdrawn: false });
});

test('what is not ours is neither shown nor touched', async () => {
  const foreign = await temporal.client.schedule.create({
    scheduleId: 'nightly-backup',
    spec: { calendars: [{ hour: 1 }] },
    action: { type: 'startWorkflow', workflowType: 'backup', taskQueue: 'elsewhere' },
  });
  expect(await apply([score, retrain])).toEqual(['keep', 'keep']);
  expect((await foreign.describe()).state.paused).toBe(false);
});
