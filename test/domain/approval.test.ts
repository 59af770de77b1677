import { describe, expect, test } from 'vitest';
import {
  type ApprovalClaim,
  type ApprovalGate,
  approvalOutcome,
  decideApproval,
  ignoredKept,
  judgeAgain,
  openApproval,
  parseClaim,
} from '../../src/domain/approval.ts';

const gate: ApprovalGate = {
  promotion: 'promote/churn/v3',
  subjectDigest: 'a'.repeat(64),
  requestedBy: 'ana',
  approvers: ['group:risk', 'eva'],
  approvals: 2,
  fourEyes: true,
  people: { ana: ['risk'], ben: ['risk'], cem: ['data'], dana: ['risk'], eva: [] },
};
const yes = (approver: string, change: Partial<ApprovalClaim> = {}): ApprovalClaim => ({
  promotion: gate.promotion,
  subjectDigest: gate.subjectDigest,
  decision: 'approve',
  approver,
  comment: '',
  ...change,
});
const judged = (claims: readonly ApprovalClaim[], of: ApprovalGate = gate) => judgeAgain(claims, of);

test('two approvers of the named group or by name approve', () => {
  expect(approvalOutcome(judged([yes('ben')]))).toEqual({ kind: 'waiting', missing: 1 });
  expect(approvalOutcome(judged([yes('ben'), yes('eva')]))).toEqual({ kind: 'approved', by: ['ben', 'eva'] });
});

test('one rejection ends it, whoever approved before', () => {
  const state = judged([yes('ben'), yes('dana', { decision: 'reject', comment: 'too few rows' })]);
  expect(approvalOutcome(state)).toEqual({ kind: 'rejected', by: 'dana', comment: 'too few rows' });
});

describe('a claim that breaks a rule is kept with the rule and changes nothing', () => {
  const cases: readonly [string, ApprovalClaim, RegExp][] = [
    ['another promotion', yes('ben', { promotion: 'promote/churn/v2' }), /about promotion promote\/churn\/v2/],
    ['evidence that has changed', yes('ben', { subjectDigest: 'b'.repeat(64) }), /look at the evidence again/],
    ['a stranger', yes('zoe'), /not among the people/],
    ['a person without the group', yes('cem'), /not among the approvers/],
    ['who started the training', yes('ana'), /four eyes/],
    ['nobody', yes(''), /names no approver/],
  ];
  test.each(cases)('%s', (_, claim, rule) => {
    const state = judged([claim]);
    expect(state.claims[0]?.ignored).toMatch(rule);
    expect(approvalOutcome(state)).toEqual({ kind: 'waiting', missing: 2 });
  });

  test('the same person twice', () => {
    const state = judged([yes('ben'), yes('ben')]);
    expect(state.claims[1]?.ignored).toMatch(/already decided/);
  });
  test('anything after the end', () => {
    const state = judged([yes('ben'), yes('eva'), yes('dana', { decision: 'reject' })]);
    expect(state.claims[2]?.ignored).toMatch(/already approved/);
    expect(approvalOutcome(state).kind).toBe('approved');
  });
});

test('who started the training may still reject it', () => {
  expect(approvalOutcome(judged([yes('ana', { decision: 'reject' })])).kind).toBe('rejected');
});

test('on a laptop without people every name counts, but four eyes hold', () => {
  const laptop = { ...gate, people: {}, approvers: [], approvals: 1 };
  expect(approvalOutcome(judged([yes('ana')], laptop)).kind).toBe('waiting');
  expect(approvalOutcome(judged([yes('anybody')], laptop)).kind).toBe('approved');
});

test('no approvals wanted, none waited for', () => {
  expect(approvalOutcome(openApproval({ ...gate, approvals: 0 }))).toEqual({ kind: 'approved', by: [] });
});

test('a flood of bad claims neither fills the state nor shuts out a good one', () => {
  let state = openApproval({ ...gate, approvals: 1 });
  for (let index = 0; index < 10_000; index += 1) state = decideApproval(state, yes(`stranger${index}`)).state;
  expect(state.claims.length).toBe(ignoredKept);
  expect(state.ignoredCount).toBe(10_000);
  expect(approvalOutcome(decideApproval(state, yes('ben')).state).kind).toBe('approved');
});

test('judged again when a person has left the group, an approval no longer counts', () => {
  const claims = [yes('ben'), yes('eva')];
  const now = { ...gate, people: { ...gate.people, ben: [] } };
  expect(approvalOutcome(judged(claims, now))).toEqual({ kind: 'waiting', missing: 1 });
});

describe('what anybody may send as a signal', () => {
  test.each([
    ['nothing', undefined, /expected an object/],
    ['a text', 'approve', /expected an object/],
    ['no digest', { promotion: 'p', decision: 'approve', approver: 'ben' }, /subjectDigest/],
    ['another decision', { promotion: 'p', subjectDigest: 'd', decision: 'yes', approver: 'ben' }, /approve/],
    ['a book', { promotion: 'p', subjectDigest: 'd', decision: 'approve', approver: 'b'.repeat(9000) }, /at most/],
  ])('%s is refused', (_, value, problem) => {
    expect(parseClaim(value)).toMatchObject({ problem: expect.stringMatching(problem) });
  });
  test('a comment may be left out, names are trimmed', () => {
    const claim = { promotion: 'p', subjectDigest: 'd', decision: 'reject', approver: ' ben ' };
    expect(parseClaim(claim)).toEqual({ ...claim, approver: 'ben', comment: '' });
  });
});
