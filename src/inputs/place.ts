/** Where files of declared tables lie: in the project's folder or in a bucket. Both answer the same questions. */

export interface PlacedFile {
  /** As a snapshot names it: relative to the project, or `s3://bucket/key`. */
  readonly path: string;
  readonly bytes: number;
  /** Of an object in a bucket: other bytes have another one. Null for files of the project, which are hashed instead. */
  readonly etag: string | null;
  /** When it was written, as text to compare. */
  readonly modified: string;
}

export interface Place {
  /** Files whose path matches, in order; `*` stands for any text within one segment. */
  match(pattern: string): Promise<readonly PlacedFile[]>;
  /** Null when there is no such file. */
  stat(path: string): Promise<PlacedFile | null>;
  /** A small file as text. */
  text(path: string): Promise<string>;
}

/** A pattern as an expression; `name` stands for the text of a group, if the pattern has it. */
export function expressionOf(pattern: string, { group }: { readonly group?: string } = {}): RegExp {
  const parts = group === undefined ? [pattern] : pattern.split(group);
  const inside = parts.map(part => part.split('*').map(escaped).join('[^/]*'));
  // A group that stands twice is the same text twice.
  return new RegExp(`^${inside.reduce((all, part, index) => `${all}${index === 1 ? '([^/]+)' : '\\1'}${part}`)}$`);
}

function escaped(text: string): string {
  return text.replaceAll(/[.+?^${}()|[\]\\]/g, '\\$&');
}
