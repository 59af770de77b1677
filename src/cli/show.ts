/** Commands that read: what versions, runs, evidence, jobs and decisions there are, and why. */

import { listModels } from '../config/model-definition.ts';
import { openAlerts } from '../domain/decision.ts';
import type { Evidence, EvidenceKind } from '../domain/evidence.ts';
import { unknownName } from '../domain/nearest.ts';
import type { Catalog } from '../storage/catalog.ts';
import { curveOf, curveText, lateText, type MaturityCurve, maturityLines } from './label-curve.ts';
import { CommandFailure, exitCode, show, tableLines, verdictText } from './output.ts';
import { openCatalog, type ProjectOptions, projectOf } from './project-context.ts';

export interface ListOptions extends ProjectOptions {
  readonly limit?: string;
}

async function modelCatalog(model: string, options: ProjectOptions): Promise<Catalog> {
  const project = projectOf(options);
  const catalog = openCatalog(project);
  const known = new Set([...listModels(project.folder), ...(await catalog.models()).map(entry => entry.model)]);
  if (!known.has(model)) throw new CommandFailure(unknownName('model', model, [...known]), exitCode.usage);
  return catalog;
}

function last<T>(items: readonly T[], options: ListOptions): readonly T[] {
  return items.slice(-Number(options.limit ?? 50));
}

/** One line per model: champion, versions, last job, last decision. */
export async function status(options: ProjectOptions): Promise<void> {
  const project = projectOf(options);
  const catalog = openCatalog(project);
  const names = new Set([...listModels(project.folder), ...(await catalog.models()).map(entry => entry.model)]);
  const models = await Promise.all(
    [...names].sort().map(async model => {
      const [deployment, versions, jobs, decisions, promotions] = await Promise.all([
        catalog.deployment(model),
        catalog.versions(model),
        catalog.jobs(model),
        catalog.decisions(model),
        catalog.promotions(model),
      ]);
      return {
        model,
        champion: deployment.champion?.version ?? null,
        versions: versions.length,
        waiting: promotions.filter(promotion => promotion.status === 'waiting').map(promotion => promotion.promotion),
        lastJob: jobs.at(-1) ?? null,
        lastDecision: decisions.at(-1) ?? null,
        openAlerts: openAlerts(decisions.at(-1)?.alerts ?? []),
        labels: await labelState(catalog, model),
      };
    }),
  );
  show(options.json, { models }, document =>
    tableLines(
      [
        'model',
        'champion',
        'versions',
        'waits for approval',
        'last job',
        'last decision',
        'labels by age',
        'open alerts',
      ],
      document.models.map(row => [
        row.model,
        row.champion === null ? null : `v${row.champion}`,
        row.versions,
        row.waiting.join(', ') || null,
        row.lastJob === null
          ? null
          : `${row.lastJob.partition}/g${row.lastJob.generation} ${row.lastJob.ended?.outcome ?? 'running'}`,
        row.lastDecision === null ? null : row.lastDecision.action,
        row.labels === null ? null : curveText(row.labels.curve) + lateText(row.labels.late),
        row.openAlerts.map(({ id, state }) => `${id} (${state})`).join(', ') || null,
      ]),
    ),
  );
}

interface LabelState {
  readonly curve: MaturityCurve;
  /** Cohorts below the curve at the last look. */
  readonly late: readonly string[];
}

/** How labels come, from the newest look; null before there is a curve. */
async function labelState(catalog: Catalog, model: string): Promise<LabelState | null> {
  const last = (await catalog.evidenceList(model, { kind: 'labels' })).at(-1);
  if (last === undefined) return null;
  const { checks } = await catalog.evidence(last.digest);
  const late = checks.flatMap(({ check, status, slice }) =>
    check === 'label_arrival' && status === 'warn' && slice !== null ? [slice] : [],
  );
  const curve = curveOf(checks);
  return curve.length === 0 && late.length === 0 ? null : { curve, late };
}

export async function versions(model: string, options: ListOptions): Promise<void> {
  const catalog = await modelCatalog(model, options);
  const champion = (await catalog.deployment(model)).champion?.version ?? null;
  const found = last(await catalog.versions(model), options);
  show(options.json, { model, champion, versions: found }, document =>
    tableLines(
      ['version', 'role', 'run', 'metrics', 'scorer', 'registered'],
      document.versions.map(version => [
        `v${version.number}`,
        version.number === champion ? 'champion' : null,
        version.run,
        metricText(version.metrics),
        version.scorer?.scorer ?? null,
        version.registeredAt.slice(0, 16).replace('T', ' '),
      ]),
    ),
  );
}

export async function runs(model: string, options: ListOptions & { readonly search?: string }): Promise<void> {
  const catalog = await modelCatalog(model, options);
  const found = await catalog.searchRuns({
    model,
    limit: Number(options.limit ?? 50),
    ...(options.search === undefined ? {} : { text: options.search }),
  });
  show(options.json, { model, runs: found }, document =>
    tableLines(
      ['run', 'status', 'trainer', 'rows', 'metrics', 'trigger'],
      document.runs.map(run => [
        run.id,
        run.status,
        run.trainer,
        run.weights === undefined
          ? run.rows.train
          : `${run.rows.train}, weighted, worth ${Math.round(run.weights.effectiveRows)}`,
        run.status === 'failed' ? run.failure : metricText(run.metrics),
        run.trigger,
      ]),
    ),
  );
}

export async function evidenceList(
  model: string,
  options: ListOptions & { readonly kind?: EvidenceKind },
): Promise<void> {
  const catalog = await modelCatalog(model, options);
  const entries = last(
    await catalog.evidenceList(model, options.kind === undefined ? {} : { kind: options.kind }),
    options,
  );
  show(options.json, { model, evidence: entries }, document =>
    tableLines(
      ['evidence', 'kind', 'verdict', 'as of', 'subject'],
      document.evidence.map(entry => [
        entry.digest.slice(0, 19),
        entry.kind,
        verdictText(entry.verdict),
        entry.asOf.slice(0, 10),
        Object.entries(entry.subject)
          .map(([name, value]) => `${name}=${value.length > 24 ? `${value.slice(0, 19)}…` : value}`)
          .join(' '),
      ]),
    ),
  );
}

/** One piece of evidence with its checks; the digest may be shortened as long as it is unique. */
export async function evidence(model: string, digest: string, options: ProjectOptions): Promise<void> {
  const catalog = await modelCatalog(model, options);
  const matching = (await catalog.evidenceList(model)).filter(entry => entry.digest.startsWith(digest));
  const [only] = matching;
  if (only === undefined || matching.length > 1) {
    throw new CommandFailure(
      `${digest}: ${matching.length} pieces of evidence of ${model} begin with it`,
      exitCode.usage,
    );
  }
  show(options.json, await catalog.evidence(only.digest), evidenceLines);
}

export function evidenceLines(evidence: Evidence): string[] {
  return [
    `${evidence.kind} of ${evidence.model} as of ${evidence.asOf}: ${verdictText(evidence.verdict)}`,
    ...evidence.reasons.map(reason => `  ${reason}`),
    ...tableLines(
      ['check', 'status', 'column', 'slice', 'value', 'limit', 'rows', 'reason'],
      evidence.checks.map(check => [
        check.check,
        verdictText(check.status),
        check.column,
        check.slice,
        check.value === null ? null : Number(check.value.toPrecision(4)),
        check.limit === null ? null : Number(check.limit.toPrecision(4)),
        check.rows,
        check.reason,
      ]),
    ),
    ...maturityLines(curveOf(evidence.checks)),
  ];
}

export async function history(model: string, options: ListOptions): Promise<void> {
  const catalog = await modelCatalog(model, options);
  const entries = last(await catalog.deploymentHistory(model), options);
  show(options.json, { model, deployment: entries.map(entry => ({ number: entry.number, ...entry.body })) }, document =>
    tableLines(
      ['entry', 'champion', 'change', 'by', 'approved by', 'why'],
      document.deployment.map(entry => [
        entry.number,
        entry.state.champion === null ? null : `v${entry.state.champion.version}`,
        entry.action.kind,
        entry.request,
        entry.approvedBy.join(', ') || null,
        entry.reason,
      ]),
    ),
  );
}

export async function promotions(model: string, options: ListOptions): Promise<void> {
  const catalog = await modelCatalog(model, options);
  const found = last(await catalog.promotions(model), options);
  show(options.json, { model, promotions: found }, document =>
    tableLines(
      ['promotion', 'version', 'status', 'decided by', 'requested by', 'subject'],
      document.promotions.map(promotion => [
        promotion.promotion,
        `v${promotion.version}`,
        verdictText(promotion.status),
        promotion.decisions
          .filter(decision => decision.ignored === null)
          .map(decision => `${decision.approver} (${decision.decision})`)
          .join(', ') || null,
        promotion.requestedBy,
        promotion.subjectDigest,
      ]),
    ),
  );
}

export async function jobs(model: string, options: ListOptions): Promise<void> {
  const catalog = await modelCatalog(model, options);
  const found = last(await catalog.jobs(model), options);
  show(options.json, { model, jobs: found }, document =>
    tableLines(
      ['partition', 'generation', 'outcome', 'rows', 'versions', 'table version', 'reason'],
      document.jobs.map(job => [
        job.partition,
        job.generation,
        job.ended === null ? 'running' : verdictText(job.ended.outcome),
        job.ended?.rows ?? null,
        job.ended?.modelVersions.map(version => `v${version}`).join(', ') ?? null,
        job.ended?.tableVersion ?? null,
        job.ended?.reason || null,
      ]),
    ),
  );
}

export async function decisions(model: string, options: ListOptions): Promise<void> {
  const catalog = await modelCatalog(model, options);
  const found = last(await catalog.decisions(model), options);
  show(options.json, { model, decisions: found }, document =>
    tableLines(
      ['as of', 'action', 'trigger', 'reasons'],
      document.decisions.map(decision => [
        decision.asOf.slice(0, 10),
        decision.action,
        decision.trigger,
        decision.reasons.join('; '),
      ]),
    ),
  );
}

function metricText(metrics: Readonly<Record<string, number | null>>): string {
  return Object.entries(metrics)
    .filter(([, value]) => value !== null)
    .slice(0, 4)
    .map(([name, value]) => `${name} ${Number(value).toPrecision(4)}`)
    .join('  ');
}
