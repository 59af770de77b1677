/** A permanent fault: trying again cannot help, and a person must know what to do. Everything else is let fly and tried again. */
export class PermanentFault extends Error {
  override readonly name = 'PermanentFault';
  /** One word for machines, such as `NoChampion`; becomes the type of Temporal's failure. */
  readonly type: string;
  readonly facts: Readonly<Record<string, unknown>>;

  constructor(type: string, message: string, facts: Readonly<Record<string, unknown>> = {}) {
    super(message);
    this.type = type;
    this.facts = facts;
  }
}
