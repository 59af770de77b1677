/** `almanac audit verify`: does every byte in the store say what was written? Works offline, changes nothing. */
import { type AuditFinding, verifyStore } from '../storage/audit.ts';
import { openStore } from '../storage/open.ts';
import { exitCode, show, verdictText } from './output.ts';
import { type ProjectOptions, projectOf } from './project-context.ts';

/** Findings shown to people; `--json` has all. */
const findingsShown = 50;

/** Prints what was walked and every object that lies; exit code 1 when one does. */
export async function auditVerify(options: ProjectOptions): Promise<void> {
  const project = projectOf(options);
  const store = openStore(project.store, project.s3);
  const report = await verifyStore(store);
  const verdict = report.findings.length === 0 ? 'pass' : 'fail';
  if (verdict === 'fail') process.exitCode = exitCode.failed;
  show(options.json, { verdict, store: store.url, ...report }, document => {
    const { findings, objects, entries, chains, bytes } = document;
    const hidden = findings.length - findingsShown;
    return [
      ...findings.slice(0, findingsShown).map(findingLine),
      ...(hidden > 0 ? [`… and ${hidden} more: --json shows all`] : []),
      `${verdictText(verdict)}: ${findings.length} findings in ${objects} objects (${bytes} bytes), ` +
        `${entries} entries of ${chains} logs, at ${document.store}`,
    ];
  });
}

function findingLine({ key, byte, message }: AuditFinding): string {
  return `${key}${byte === null ? '' : `, byte ${byte}`}: ${message}`;
}
