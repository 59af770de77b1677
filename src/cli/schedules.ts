/** `almanac schedules plan|apply`: the schedules that the definitions declare, beside those the server has. */
import { listModels, readDefinition } from '../config/model-definition.ts';
import { applySchedules, planFor } from '../schedules/apply.ts';
import { desiredSchedules, type ScheduleChange } from '../schedules/desired.ts';
import { show, tableLines } from './output.ts';
import { type ProjectOptions, projectOf } from './project-context.ts';
import { withClient } from './temporal-client.ts';

export async function plan(options: ProjectOptions): Promise<void> {
  const { changes } = await planned(options);
  show(options.json, { changes }, linesOf);
}

export async function apply(options: ProjectOptions): Promise<void> {
  const { project, changes } = await planned(options);
  await withClient(project, client => applySchedules(client, changes));
  show(options.json, { changes }, linesOf);
}

async function planned(options: ProjectOptions) {
  const project = projectOf(options);
  const definitions = listModels(project.folder).map(model => readDefinition(project.folder, model));
  const changes = await withClient(project, client => planFor(client, desiredSchedules(definitions)));
  return { project, changes };
}

function linesOf({ changes }: { changes: readonly ScheduleChange[] }): readonly string[] {
  return tableLines(
    ['change', 'schedule'],
    changes.map(change => [change.kind, 'desired' in change ? change.desired.id : change.id]),
  );
}
