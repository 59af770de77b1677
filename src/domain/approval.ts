/**
 * Approvals: who may say yes to a promotion, and when enough have. One reducer serves Signal and Update alike; a claim that
 * breaks a rule is kept with the rule it broke and changes nothing else. What a message says about its sender is a claim:
 * the promotion activity judges the recorded decisions again, by the people of that moment, right before it deploys.
 */

/** What Signal and Update `decide` carry. */
export interface ApprovalClaim {
  readonly promotion: string;
  /** The subject the approver saw; approvals bind to it, not to a name. */
  readonly subjectDigest: string;
  readonly decision: 'approve' | 'reject';
  readonly approver: string;
  readonly comment: string;
}

/** The facts a claim is judged by. */
export interface ApprovalGate {
  readonly promotion: string;
  readonly subjectDigest: string;
  /** Who started the training; under four eyes not an approver. */
  readonly requestedBy: string;
  /** `group:<name>` or a person; empty is everybody in `people`. */
  readonly approvers: readonly string[];
  /** How many different approvers are needed; 0 needs nobody. */
  readonly approvals: number;
  readonly fourEyes: boolean;
  /** Person → groups. Empty is a laptop: every name is taken at its word. */
  readonly people: Readonly<Record<string, readonly string[]>>;
}

export interface JudgedClaim extends ApprovalClaim {
  /** Null when it counted, else the rule it broke. */
  readonly ignored: string | null;
}

export type ApprovalOutcome =
  | { readonly kind: 'waiting'; readonly missing: number }
  | { readonly kind: 'approved'; readonly by: readonly string[] }
  | { readonly kind: 'rejected'; readonly by: string; readonly comment: string };

export interface ApprovalState {
  readonly gate: ApprovalGate;
  /** In order of arrival; of ignored ones the first `ignoredKept`. */
  readonly claims: readonly JudgedClaim[];
  /** All that were ignored, kept or not: a flood must not fill the history and shut out a good approval. */
  readonly ignoredCount: number;
}

export const ignoredKept = 50;

export function openApproval(gate: ApprovalGate): ApprovalState {
  return { gate, claims: [], ignoredCount: 0 };
}

export function approvalOutcome(state: ApprovalState): ApprovalOutcome {
  const counted = state.claims.filter(claim => claim.ignored === null);
  const rejection = counted.find(claim => claim.decision === 'reject');
  if (rejection !== undefined) return { kind: 'rejected', by: rejection.approver, comment: rejection.comment };
  const missing = state.gate.approvals - counted.length;
  if (missing > 0) return { kind: 'waiting', missing };
  return { kind: 'approved', by: counted.map(claim => claim.approver) };
}

/** Takes one claim in; the answer says what became of it. */
export function decideApproval(
  state: ApprovalState,
  claim: ApprovalClaim,
): { readonly state: ApprovalState; readonly judged: JudgedClaim } {
  const judged: JudgedClaim = { ...claim, ignored: brokenRule(state, claim) };
  const ignoredCount = state.ignoredCount + (judged.ignored === null ? 0 : 1);
  const isKept = judged.ignored === null || ignoredCount <= ignoredKept;
  const claims = isKept ? [...state.claims, judged] : state.claims;
  return { state: { ...state, claims, ignoredCount }, judged };
}

/** The same claims judged afresh by another gate: the people and the policy of the moment of use. */
export function judgeAgain(claims: readonly ApprovalClaim[], gate: ApprovalGate): ApprovalState {
  return claims.reduce((state, claim) => decideApproval(state, claim).state, openApproval(gate));
}

/** The rule the claim breaks, as a sentence for its sender, or null. */
export function brokenRule(state: ApprovalState, claim: ApprovalClaim): string | null {
  const { gate } = state;
  if (claim.promotion !== gate.promotion) {
    return `it is about promotion ${claim.promotion}, this one is ${gate.promotion}`;
  }
  if (claim.subjectDigest !== gate.subjectDigest) {
    return `it was given for subject ${short(claim.subjectDigest)}, the one to decide on is ${short(gate.subjectDigest)}: look at the evidence again`;
  }
  const outcome = approvalOutcome(state);
  if (outcome.kind !== 'waiting') return `the promotion is already ${outcome.kind}`;
  if (claim.approver === '') return 'it names no approver';
  const known = Object.keys(gate.people);
  if (known.length > 0 && !Object.hasOwn(gate.people, claim.approver)) {
    return `${claim.approver} is not among the people of almanac.yaml (${known.join(', ')})`;
  }
  if (!mayApprove(gate, claim.approver)) {
    return `${claim.approver} is not among the approvers (${gate.approvers.join(', ')})`;
  }
  if (gate.fourEyes && claim.decision === 'approve' && claim.approver === gate.requestedBy) {
    return `four eyes: ${claim.approver} started the training and may not approve it`;
  }
  if (state.claims.some(earlier => earlier.ignored === null && earlier.approver === claim.approver)) {
    return `${claim.approver} has already decided`;
  }
  return null;
}

function mayApprove(gate: ApprovalGate, person: string): boolean {
  if (gate.approvers.length === 0 || Object.keys(gate.people).length === 0) return true;
  const groups = gate.people[person] ?? [];
  return gate.approvers.some(name => name === person || groups.some(group => name === `group:${group}`));
}

/** A claim from the outside world, or what is wrong with it. Anyone may send a signal, with anything in it. */
export function parseClaim(value: unknown): ApprovalClaim | { readonly problem: string } {
  if (typeof value !== 'object' || value === null) return { problem: 'expected an object' };
  const fields = new Map<string, unknown>(Object.entries(value));
  const texts: Record<string, string> = {};
  for (const name of ['promotion', 'subjectDigest', 'approver', 'comment']) {
    const field = fields.get(name) ?? (name === 'comment' ? '' : undefined);
    if (typeof field !== 'string') return { problem: `expected text in "${name}"` };
    if (field.length > textMax) return { problem: `"${name}" has ${field.length} characters, at most ${textMax} fit` };
    texts[name] = field;
  }
  const decision = fields.get('decision');
  if (decision !== 'approve' && decision !== 'reject')
    return { problem: 'expected "approve" or "reject" in "decision"' };
  const { promotion = '', subjectDigest = '', approver = '', comment = '' } = texts;
  return { promotion, subjectDigest, decision, approver: approver.trim(), comment };
}
const textMax = 2000;

function short(digest: string): string {
  return digest.length > 16 ? `${digest.slice(0, 8)}…${digest.slice(-8)}` : digest;
}
