/** Promotions: opening them with their evidence, recording what approvers said, and verifying all of it at the moment of use. */
import { log } from '@temporalio/activity';
import { type ApprovalGate, approvalOutcome, judgeAgain } from '../domain/approval.ts';
import { asksFor, openAlerts } from '../domain/decision.ts';
import type { ModelDefinition } from '../domain/definition.ts';
import type { CheckResult, Evidence } from '../domain/evidence.ts';
import type { ModelVersion } from '../domain/model-version.ts';
import { foldPromotions, type Promotion, type PromotionEvent, type PromotionOutcome } from '../domain/promotion.ts';
import { planRollout } from '../domain/rollout.ts';
import { addDays, dateOf } from '../domain/time.ts';
import { canonicalJson, sha256 } from '../storage/digest.ts';
import { summaryOf } from './evidence.ts';
import { PermanentFault } from './fault.ts';
import type { Services } from './services.ts';
import type { CardRow, ControlActivities } from './types.ts';

type PromotionVerbs = Pick<
  ControlActivities,
  | 'openPromotion'
  | 'recordApproval'
  | 'remindApprovers'
  | 'applyRolloutStep'
  | 'recordTrial'
  | 'endTrial'
  | 'endPromotion'
>;

/** All that promotions need: the store through its ports, and who people are. */
type PromotionServices = Pick<Services, 'catalog' | 'ports' | 'temporalCommand'> & {
  readonly project: Pick<Services['project'], 'people'>;
};

export function createPromotion(services: PromotionServices): PromotionVerbs {
  const { catalog, ports, project } = services;

  /** Appends the event unless one like it is there already. */
  const record = (model: string, event: PromotionEvent, isSame: (other: PromotionEvent) => boolean) =>
    catalog.recordPromotion(model, events => (events.some(isSame) ? null : event));

  /** From here on no step of the promotion is made; why not, when it has made its version the champion. */
  const fence = async (model: string, promotion: string, reason: string): Promise<string | null> => {
    const request = { request: promotion, step: `${promotion}#end`, approvedBy: [], reason };
    const changed = await catalog.changeDeployment(model, { ...request, action: { kind: 'end_trial' } });
    return changed.kind === 'refused' ? changed.reason : null;
  };

  return {
    async openPromotion({ model, version: number, promotion, requestedBy }) {
      const version = await catalog.version(model, number);
      const definition = await catalog.definition(version.definition);
      const evidence = await evidenceAbout(services, version);
      const before = await catalog.deployment(model);
      const champion = before.champion?.version ?? null;
      const run = await catalog.run(model, version.run);
      const requester = requestedBy ?? trainedBy(run?.trigger ?? null);
      const subjectDigest = subjectOf(
        version,
        definition,
        evidence.map(({ digest }) => digest),
      );
      const expiresAt = `${addDays(dateOf(ports.clock.now().toISOString()), definition.promote.expiresDays)}T00:00:00Z`;

      const event: PromotionEvent = {
        kind: 'requested',
        promotion,
        version: number,
        bundle: version.bundle,
        subjectDigest,
        evidence: evidence.map(({ digest }) => digest),
        requestedBy: requester,
        expectedChampion: champion,
        expiresAt,
      };
      const events = await record(
        model,
        event,
        ({ kind, promotion: other }) => kind === 'requested' && other === promotion,
      );
      // Asked twice, the first request counts: its subject is what approvers saw.
      const opened = findPromotion(events, promotion);
      const served = { version: number, bundle: version.bundle };
      return {
        gate: gateOf(definition, opened, project.people),
        held: [...gateReasons(evidence), ...(await alertsThatHold(services, model))],
        evidence: evidence.map(({ digest, document }) => summaryOf(digest, document)),
        rows: evidence.flatMap(({ document }) => document.checks.filter(isForApprovers).map(check => cardRow(check))),
        champion: opened.expectedChampion,
        served,
        rollout: planRollout(definition.promote.rollout, served, before),
        expiresAt: opened.expiresAt,
        remindDays: definition.promote.remindDays,
        command: services.temporalCommand,
      };
    },

    async recordApproval({ model, claim }) {
      const { promotion, decision, approver, comment, subjectDigest, ignored } = claim;
      const event: PromotionEvent = { kind: 'decided', promotion, decision, approver, comment, subjectDigest, ignored };
      const said = canonicalJson(event);
      await record(model, event, other => canonicalJson(other) === said);
    },

    async remindApprovers({ model, promotion, stage, waitingFor }) {
      log.warn(`${stage}: ${promotion} waits for ${waitingFor} more approval(s); run \`almanac approvals ${model}\``);
    },

    async applyRolloutStep({ model, version: number, promotion, subjectDigest, planned, expectedChampion }) {
      // Nothing from the workflow's memory is taken at its word: decisions, people, policy and digests are read again.
      const version = await catalog.version(model, number);
      const definition = await catalog.definition(version.definition);
      const opened = await promotionOf(services, model, promotion);
      const evidence = await evidenceAbout(services, version, opened.evidence);
      const subject = subjectOf(version, definition, opened.evidence);
      if (subject !== subjectDigest || opened.subjectDigest !== subjectDigest || opened.bundle !== version.bundle) {
        const reason = `approved subject ${subjectDigest}, the version with its evidence now is ${subject}`;
        return { kind: 'refused', outcome: 'failed', reason };
      }
      const held = [...gateReasons(evidence), ...(await alertsThatHold(services, model))];
      if (held.length > 0) return { kind: 'refused', outcome: 'failed', reason: held.join('; ') };
      const claims = opened.decisions.filter(decided => decided.ignored === null);
      const outcome = approvalOutcome(judgeAgain(claims, gateOf(definition, opened, project.people)));
      if (outcome.kind !== 'approved') {
        const why =
          outcome.kind === 'waiting' ? `${outcome.missing} approval(s) no longer count` : `${outcome.by} rejected it`;
        return { kind: 'refused', outcome: 'failed', reason: `judged again before use: ${why}` };
      }
      // The bytes are fetched and hashed once before anybody is served with them.
      await catalog.bundle(version.bundle);
      const changed = await catalog.changeDeployment(model, {
        action: planned.action,
        request: promotion,
        step: `${promotion}#${planned.index}`,
        approvedBy: outcome.by,
        reason: `promotion of v${number}`,
        expectedChampion,
      });
      if (changed.kind === 'refused') return { kind: 'refused', outcome: 'superseded', reason: changed.reason };
      const { index, step } = planned;
      const event: PromotionEvent = { kind: 'stepped', promotion, index, step, outcome: 'started', evidence: [] };
      await record(model, event, other => isStep(other, promotion, index, 'started'));
      return { kind: 'applied', entry: changed.entry, state: changed.state };
    },

    async recordTrial({ model, promotion, index, step, outcome, evidence }) {
      const event: PromotionEvent = { kind: 'stepped', promotion, index, step, outcome, evidence };
      await record(model, event, other => isStep(other, promotion, index, outcome));
    },

    async endTrial({ model, promotion, reason }) {
      await fence(model, promotion, reason);
    },

    async endPromotion({ model, promotion, outcome, reason }) {
      // Before it is said: an attempt of a step that was given up long ago may still be on its way.
      const refused = mayHaveSteps.has(outcome) ? await fence(model, promotion, reason) : null;
      const event: PromotionEvent =
        refused === null
          ? { kind: 'ended', promotion, outcome, reason }
          : { kind: 'ended', promotion, outcome: 'promoted', reason: refused };
      await record(model, event, other => other.kind === 'ended' && other.promotion === promotion);
    },
  };
}

/** Ends of a promotion that had been approved. */
const mayHaveSteps: ReadonlySet<PromotionOutcome> = new Set(['superseded', 'failed', 'rolled_back']);

interface KnownEvidence {
  readonly digest: string;
  readonly document: Evidence;
}

/** The evidence of these digests; without a list, the newest of each kind about this version or its training data. */
async function evidenceAbout(
  services: PromotionServices,
  version: ModelVersion,
  digests?: readonly string[],
): Promise<readonly KnownEvidence[]> {
  const { catalog } = services;
  const wanted = digests ?? newestOfEachKind(await catalog.evidenceList(version.model), version);
  return await Promise.all(wanted.map(async digest => ({ digest, document: await catalog.evidence(digest) })));
}

function newestOfEachKind(
  entries: readonly { digest: string; kind: string; subject: Readonly<Record<string, string>> }[],
  version: ModelVersion,
): readonly string[] {
  const newest = new Map<string, string>();
  for (const { digest, kind, subject } of entries) {
    if (subject['version'] === String(version.number) || subject['run'] === version.run) newest.set(kind, digest);
  }
  return [...newest.values()].sort();
}

/** What approvals bind to: the version's bytes, its evidence and the policy it is promoted under. */
function subjectOf(version: ModelVersion, definition: ModelDefinition, evidence: readonly string[]): string {
  const { model, number, bundle } = version;
  const policy = sha256(canonicalJson(definition.promote));
  return sha256(canonicalJson({ model, version: number, bundle, evidence: [...evidence].sort(), policy }));
}

function gateOf(
  definition: ModelDefinition,
  promotion: Promotion,
  people: Readonly<Record<string, readonly string[]>>,
): ApprovalGate {
  const { approvers, approvals, fourEyes } = definition.promote;
  const { promotion: id, subjectDigest, requestedBy } = promotion;
  return { promotion: id, subjectDigest, requestedBy, approvers, approvals, fourEyes, people };
}

function gateReasons(evidence: readonly KnownEvidence[]): readonly string[] {
  const kinds = new Set<string>(evidence.map(({ document }) => document.kind));
  const missing = ['evaluation', 'model_ci']
    .filter(kind => !kinds.has(kind))
    .map(kind => `there is no ${kind} evidence`);
  const bad = evidence
    .filter(({ document }) => document.verdict === 'fail' || document.verdict === 'insufficient')
    .map(({ document }) => `${document.kind} is ${document.verdict}: ${document.reasons.join('; ')}`);
  return [...missing, ...bad];
}

/** Open alerts of the newest decision that ask for it. */
async function alertsThatHold({ catalog }: Pick<Services, 'catalog'>, model: string): Promise<readonly string[]> {
  const decision = (await catalog.decisions(model)).at(-1);
  return openAlerts(decision?.alerts ?? [])
    .filter(asksFor('hold_promotion'))
    .map(({ reason }) => reason);
}

/** The measured ones first; of what merely passed without a number an approver learns nothing. */
function isForApprovers(check: CheckResult): boolean {
  return check.status !== 'not_applicable' && (check.value !== null || check.status !== 'pass');
}

function cardRow(check: CheckResult): CardRow {
  const where = [check.column, check.slice].filter(part => part !== null).join(' ');
  const champion = check.details['champion'];
  const interval = check.interval === null ? '' : ` [${check.interval.map(number).join(', ')}]`;
  return {
    what: where === '' ? check.check : `${check.check} (${where})`,
    challenger: `${number(check.value)}${interval}`,
    champion: typeof champion === 'number' ? number(champion) : '–',
    limit: number(check.limit),
    verdict: check.status,
  };
}

function number(value: number | null): string {
  return value === null ? '–' : String(Number(value.toPrecision(4)));
}

/** `user:ana` → ana; anything else stays as it is. */
function trainedBy(trigger: string | null): string {
  if (trigger === null) return 'unknown';
  return trigger.startsWith('user:') ? trigger.slice('user:'.length) : trigger;
}

async function promotionOf(services: PromotionServices, model: string, id: string): Promise<Promotion> {
  const promotion = (await services.catalog.promotions(model)).find(one => one.promotion === id);
  if (promotion === undefined) throw new PermanentFault('NoPromotion', `${id}: the promotion was never requested`);
  return promotion;
}

function findPromotion(events: readonly PromotionEvent[], id: string): Promotion {
  const promotion = foldPromotions(events).find(one => one.promotion === id);
  if (promotion === undefined) throw new Error(`${id}: recorded but not found`);
  return promotion;
}

function isStep(event: PromotionEvent, promotion: string, index: number, outcome: string): boolean {
  return (
    event.kind === 'stepped' && event.promotion === promotion && event.index === index && event.outcome === outcome
  );
}
