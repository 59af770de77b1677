/** Reads the schedules of a namespace, and makes them what the plan says. Applying twice changes nothing. */
import {
  type Client,
  type ScheduleDescription,
  type ScheduleOptions,
  ScheduleOverlapPolicy,
  type ScheduleSpec,
} from '@temporalio/client';
import { taskQueue } from '../domain/ids.ts';
import {
  type CalendarTime,
  type DesiredSchedule,
  type PresentSchedule,
  planSchedules,
  type ScheduleChange,
  schedulePrefix,
} from './desired.ts';

const withdrawnNote = 'no model definition wants it any more';

export async function presentSchedules(client: Client): Promise<readonly PresentSchedule[]> {
  const present: PresentSchedule[] = [];
  for await (const { scheduleId } of client.schedule.list()) {
    if (!scheduleId.startsWith(schedulePrefix)) continue;
    present.push(presentOf(await client.schedule.getHandle(scheduleId).describe()));
  }
  return present;
}

/** The plan for this client's namespace; carry it out with `applySchedules`. */
export async function planFor(client: Client, desired: readonly DesiredSchedule[]): Promise<readonly ScheduleChange[]> {
  return planSchedules(desired, await presentSchedules(client));
}

export async function applySchedules(client: Client, plan: readonly ScheduleChange[]): Promise<void> {
  for (const change of plan) {
    switch (change.kind) {
      case 'create':
        await client.schedule.create(optionsOf(change.desired));
        break;
      case 'update': {
        const { action, spec, policies } = optionsOf(change.desired);
        // The SDK replaces the whole schedule: whether a person has paused it must be handed on by hand.
        const handle = client.schedule.getHandle(change.desired.id);
        await handle.update(({ state }) => ({ action, spec, policies, state }));
        if ((await handle.describe()).state.note === withdrawnNote)
          await handle.unpause('a model definition wants it again');
        break;
      }
      case 'pause':
        await client.schedule.getHandle(change.id).pause(withdrawnNote);
        break;
      case 'keep':
        break;
    }
  }
}

function optionsOf({ id, workflowType, model, at, catchupMs }: DesiredSchedule) {
  return {
    scheduleId: id,
    spec: { calendars: [calendarOf(at)], timezone: 'UTC' } satisfies ScheduleSpec,
    action: {
      type: 'startWorkflow',
      workflowType,
      // The server appends the nominal time; the workflow resolves its business id from it.
      workflowId: `schedule/${id}`,
      taskQueue: taskQueue.control,
      args: [{ model }],
    },
    policies: { overlap: ScheduleOverlapPolicy.BUFFER_ONE, catchupWindow: catchupMs, pauseOnFailure: false },
  } satisfies ScheduleOptions;
}

function calendarOf({ hour, minute, weekday }: CalendarTime) {
  // Plain numbers: `{ start: 0 }` is encoded as 0 to 1 by SDK 1.24 and would fire twice.
  const time = { hour, minute, second: 0 };
  return weekday === null ? time : { ...time, dayOfWeek: dayNames[weekday] ?? 'SUNDAY' };
}
const dayNames = ['SUNDAY', 'MONDAY', 'TUESDAY', 'WEDNESDAY', 'THURSDAY', 'FRIDAY', 'SATURDAY'] as const;

function presentOf({ scheduleId, spec, action, policies, state }: ScheduleDescription): PresentSchedule {
  const [calendar] = spec.calendars ?? [];
  const args: unknown = action.args?.[0];
  const model = typeof args === 'object' && args !== null && 'model' in args ? String(args.model) : '';
  const [day, ...others] = calendar?.dayOfWeek ?? [];
  const isDaily = day === undefined || others.length > 0 || day.start !== day.end;
  return {
    id: scheduleId,
    workflowType: workflowTypeOf(action.workflowType),
    model,
    at: {
      hour: calendar?.hour[0]?.start ?? -1,
      minute: calendar?.minute[0]?.start ?? -1,
      weekday: isDaily ? null : dayNames.indexOf(day.start),
    },
    catchupMs: policies.catchupWindow,
    paused: state.paused,
    withdrawn: state.paused && state.note === withdrawnNote,
  };
}

function workflowTypeOf(name: string): PresentSchedule['workflowType'] {
  const known = ['trainModel', 'scoreModel', 'monitorModel', 'retainData'] as const;
  return known.find(type => type === name) ?? 'trainModel';
}
