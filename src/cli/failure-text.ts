/** The innermost message of a failure that came through several layers: what went wrong, not how it travelled. */
export function failureText(error: unknown): string {
  let inner = error;
  while (inner instanceof Error && inner.cause instanceof Error) inner = inner.cause;
  return inner instanceof Error ? inner.message : String(inner);
}
