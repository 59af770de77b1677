/**
 * What a log keeps of a message. Entries of a log are never rewritten, so no value of a row may enter one: it would outlive
 * the erasure of its subject. DuckDB repeats the line it could not read and the value it could not convert; here both go, and
 * names of columns and files stay.
 */
export function recordedText(message: string): string {
  if (!saysRows.test(message)) return message;
  return message
    .split('\n')
    .filter(line => !repeatedLine.test(line))
    .join('\n')
    .replaceAll(quoted, (text, named: string | undefined) => (named === undefined ? '(not recorded)' : text))
    .trimEnd();
}

const saysRows = /\b(?:Conversion|Invalid Input|CSV|Out of Range|Constraint) Error\b/;
/** A line of the file, or of the statement with the caret below it. */
const repeatedLine = /^\s*(?:Original Line|LINE \d+)\s*:|^\s*\^\s*$/;
const quoted = /(\b(?:column|file)\s*(?:name)?:?\s*)?(?:"[^"\n]*"|'[^'\n]*')/gi;
