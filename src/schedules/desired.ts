/**
 * The schedules a project wants, from its model definitions, in the one form in which they are compared with what is
 * there: calendars in UTC with every field given, no cron text, explicit policies.
 */
import type { ModelDefinition } from '../domain/definition.ts';

export interface CalendarTime {
  readonly hour: number;
  readonly minute: number;
  /** 0 is Sunday; null is every day. */
  readonly weekday: number | null;
}

export interface DesiredSchedule {
  /** `almanac/<model>/<verb>`; what is not named so is not ours. */
  readonly id: string;
  readonly workflowType: 'trainModel' | 'scoreModel' | 'monitorModel' | 'retainData';
  readonly model: string;
  readonly at: CalendarTime;
  /** A tick that comes while the former still runs waits for it; ticks missed for longer than this are left out. */
  readonly catchupMs: number;
}

export const schedulePrefix = 'almanac/';
/** A worker that was down over night still scores the day; one that was down for a week does not score seven at once. */
const catchupMs = 26 * 3_600_000;

export function desiredSchedules(definitions: readonly ModelDefinition[]): readonly DesiredSchedule[] {
  return definitions.flatMap(({ model, schedules }) => {
    const entry = (verb: string, workflowType: DesiredSchedule['workflowType'], at: CalendarTime): DesiredSchedule => ({
      id: `${schedulePrefix}${model}/${verb}`,
      workflowType,
      model,
      at,
      catchupMs,
    });
    const { score, monitor, retrain, retain } = schedules;
    return [
      ...(score === null ? [] : [entry('score', 'scoreModel', { ...score, weekday: null })]),
      ...(monitor === null || monitor === 'after_score'
        ? []
        : [entry('monitor', 'monitorModel', { ...monitor, weekday: null })]),
      ...(retrain === null ? [] : [entry('retrain', 'trainModel', retrain)]),
      ...(retain === null ? [] : [entry('retain', 'retainData', { ...retain, weekday: null })]),
    ];
  });
}

export type ScheduleChange =
  | { readonly kind: 'create'; readonly desired: DesiredSchedule }
  | { readonly kind: 'update'; readonly desired: DesiredSchedule; readonly differences: readonly string[] }
  /** Nothing wants it any more. It is paused, not deleted: its history and a way back stay. */
  | { readonly kind: 'pause'; readonly id: string }
  | { readonly kind: 'keep'; readonly id: string };

/** What is there, in the same form. */
export interface PresentSchedule extends DesiredSchedule {
  readonly paused: boolean;
  /** Paused by an earlier plan, because nothing wanted it; a person's pause is left alone. */
  readonly withdrawn: boolean;
}

export function planSchedules(
  desired: readonly DesiredSchedule[],
  present: readonly PresentSchedule[],
): readonly ScheduleChange[] {
  const wanted = desired.map((schedule): ScheduleChange => {
    const found = present.find(({ id }) => id === schedule.id);
    if (found === undefined) return { kind: 'create', desired: schedule };
    const differences = [...differencesOf(schedule, found), ...(found.withdrawn ? ['wanted again'] : [])];
    return differences.length === 0
      ? { kind: 'keep', id: schedule.id }
      : { kind: 'update', desired: schedule, differences };
  });
  const unwanted = present
    .filter(
      ({ id, paused }) => !paused && id.startsWith(schedulePrefix) && !desired.some(schedule => schedule.id === id),
    )
    .map(({ id }): ScheduleChange => ({ kind: 'pause', id }));
  return [...wanted, ...unwanted];
}

function differencesOf(desired: DesiredSchedule, present: PresentSchedule): readonly string[] {
  const differences: string[] = [];
  const compare = (what: string, wanted: string, found: string) => {
    if (wanted !== found) differences.push(`${what}: wanted ${wanted}, found ${found}`);
  };
  compare('time', timeText(desired.at), timeText(present.at));
  compare('workflow', desired.workflowType, present.workflowType);
  compare('model', desired.model, present.model);
  compare('catch-up', `${desired.catchupMs} ms`, `${present.catchupMs} ms`);
  return differences;
}

export function timeText({ hour, minute, weekday }: CalendarTime): string {
  const two = (value: number) => String(value).padStart(2, '0');
  const days = ['sunday', 'monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday'];
  return `${weekday === null ? 'daily' : `weekly ${days[weekday] ?? weekday}`} ${two(hour)}:${two(minute)}`;
}
