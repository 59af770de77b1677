/** The page an approver reads in the Web UI: the evidence as a table, what approvals bind to, and the line to paste. */
import type { OpenedPromotion } from '../activities/types.ts';
import type { ApprovalState } from '../domain/approval.ts';
import { describeStep } from '../domain/rollout.ts';

export function approvalCard(opened: OpenedPromotion, approval: ApprovalState): string {
  const { gate } = opened;
  const champion = opened.champion === null ? 'no champion yet' : `champion v${opened.champion}`;
  const counted = approval.claims.filter(claim => claim.ignored === null);
  const ignored = approval.claims.filter(claim => claim.ignored !== null);
  const rollout = opened.rollout.map(planned => describeStep(planned.step)).join(' → ');
  return [
    `### Promote v${opened.served.version} (${champion})`,
    '',
    '| check | challenger | champion | limit | verdict |',
    '|---|---|---|---|---|',
    ...opened.rows.map(row => tableRow([row.what, row.challenger, row.champion, row.limit, row.verdict])),
    '',
    `- approvals: ${counted.length} of ${gate.approvals}${counted.map(claim => `, ${claim.approver} (${claim.decision})`).join('')}`,
    `- who may: ${gate.approvers.length === 0 ? 'anyone in almanac.yaml' : gate.approvers.join(', ')}${gate.fourEyes ? `, but not ${gate.requestedBy} (four eyes)` : ''}`,
    `- rollout: ${rollout}`,
    `- until: ${opened.expiresAt}`,
    `- subject: \`${gate.subjectDigest}\``,
    ...(ignored.length === 0 ? [] : ['', `Ignored (${approval.ignoredCount}):`]),
    ...ignored.slice(-5).map(claim => `- ${plain(claim.approver)}, ${claim.decision}: ${plain(claim.ignored ?? '')}`),
    '',
    'Put your name for `YOU` and paste (or use `almanac approve`):',
    '',
    '```sh',
    decideLine(opened, 'approve'),
    '```',
    '',
    '```sh',
    decideLine(opened, 'reject'),
    '```',
  ].join('\n');
}

export function decideLine(opened: OpenedPromotion, decision: 'approve' | 'reject'): string {
  const { promotion, subjectDigest } = opened.gate;
  const input = JSON.stringify({ promotion, subjectDigest, decision, approver: 'YOU', comment: '' });
  return `${opened.command} workflow signal --workflow-id '${promotion}' --name decide --input '${input}'`;
}

function tableRow(cells: readonly string[]): string {
  return `| ${cells.map(cell => plain(cell).replaceAll('|', '\\|')).join(' | ')} |`;
}

/** Names of columns and people come from outside; one line each, no markup. */
function plain(text: string): string {
  return text.replaceAll(/[\r\n`<>]/g, ' ');
}
