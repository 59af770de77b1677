/**
 * A deployment: which version of a model serves. It is a numbered log of whole states, so that the last entry says what
 * holds now and every earlier one what held then; a rollback is a new entry, never a deletion.
 */

export interface Served {
  /** Number of the model version. */
  readonly version: number;
  /** Digest of its bundle; what is loaded is hashed again and must equal this. */
  readonly bundle: string;
}

export interface DeploymentState {
  /** Null until the first promotion. */
  readonly champion: Served | null;
  /** Scored beside the champion, its predictions kept apart. */
  readonly shadow: Served | null;
  /** Serves a share of the keys. */
  readonly share: (Served & { readonly arm: 'canary' | 'ab'; readonly share: number }) | null;
}

export type DeploymentAction =
  | { readonly kind: 'set_champion'; readonly served: Served }
  | { readonly kind: 'start_shadow'; readonly served: Served }
  | { readonly kind: 'start_share'; readonly served: Served; readonly arm: 'canary' | 'ab'; readonly share: number }
  /**
   * The request ends without a new champion. Ends its shadow or share if one is on trial, and fences the request: a step of
   * it that an attempt given up long ago still tries to make is refused from here on.
   */
  | { readonly kind: 'end_trial' }
  /** Restores the champion before the present one. */
  | { readonly kind: 'roll_back' };

/** What one entry of the deployment log says. */
export interface DeploymentChange {
  readonly action: DeploymentAction;
  readonly state: DeploymentState;
  /** Id of the promotion or rollback that asked for it; asking twice changes nothing. */
  readonly request: string;
  /** One id per step of a request (`promote/churn/v3#2`); the key that makes a repeated call a no-op. */
  readonly step: string;
  readonly approvedBy: readonly string[];
  readonly reason: string;
}

export const noDeployment: DeploymentState = { champion: null, shadow: null, share: null };

export interface DeploymentRequest {
  readonly action: DeploymentAction;
  readonly request: string;
  readonly step: string;
  readonly approvedBy: readonly string[];
  readonly reason: string;
  /**
   * The champion the requester saw when it decided; if another one serves by now, the evidence was about another question.
   * `undefined` accepts any.
   */
  readonly expectedChampion?: number | null;
}

export type DeploymentDecision =
  | { readonly kind: 'change'; readonly change: DeploymentChange }
  /** This very step was already made: the index of its entry. */
  | { readonly kind: 'already'; readonly entry: number }
  | { readonly kind: 'refused'; readonly reason: string };

/** What holds after these changes. */
export function currentDeployment(changes: readonly DeploymentChange[]): DeploymentState {
  return changes.at(-1)?.state ?? noDeployment;
}

/** What held after the first `count` changes, for the question who served when. */
export function deploymentAfter(changes: readonly DeploymentChange[], count: number): DeploymentState {
  return currentDeployment(changes.slice(0, count));
}

/** Decides one step against the log as it is; the caller appends the change, and asks again if it lost the race. */
export function decideDeployment(changes: readonly DeploymentChange[], request: DeploymentRequest): DeploymentDecision {
  const entry = changes.findIndex(change => change.step === request.step);
  if (entry !== -1) return { kind: 'already', entry };

  const ended = changes.findIndex(change => change.request === request.request && change.action.kind === 'end_trial');
  if (ended !== -1) return { kind: 'refused', reason: `${request.request} was ended by entry ${ended}` };

  const before = currentDeployment(changes);
  const champion = before.champion?.version ?? null;
  if (request.expectedChampion !== undefined && request.expectedChampion !== champion) {
    const reason = `the request was made against champion ${named(request.expectedChampion)}, now ${named(champion)} serves: judge again`;
    return { kind: 'refused', reason };
  }
  const next = nextState(changes, request);
  if (typeof next === 'string') return { kind: 'refused', reason: next };
  const { expectedChampion: _, ...said } = request;
  return { kind: 'change', change: { ...said, state: next } };
}

/** The state after the action, or why it cannot be. */
function nextState(
  changes: readonly DeploymentChange[],
  { action, request }: DeploymentRequest,
): DeploymentState | string {
  const before = currentDeployment(changes);
  switch (action.kind) {
    case 'set_champion':
      return { champion: action.served, shadow: null, share: null };
    case 'start_shadow':
      if (before.champion === null) return 'a shadow needs a champion beside which it is scored';
      return { champion: before.champion, shadow: action.served, share: null };
    case 'start_share':
      if (before.champion === null) return 'a share of the keys needs a champion that serves the rest';
      if (!(action.share > 0 && action.share < 1)) return `a share lies between 0 and 1, found ${action.share}`;
      return {
        champion: before.champion,
        shadow: null,
        share: { ...action.served, arm: action.arm, share: action.share },
      };
    case 'end_trial': {
      const promoted = changes.findIndex(change => change.request === request && change.action.kind === 'set_champion');
      if (promoted !== -1) return `${request} made its version the champion with entry ${promoted}`;
      const isOwn = changes.findLast(change => isTrial(change.action))?.request === request;
      return isOwn ? { champion: before.champion, shadow: null, share: null } : before;
    }
    case 'roll_back': {
      const previous = previousChampion(changes);
      return previous === null ? 'there is no earlier champion to go back to' : { ...noDeployment, champion: previous };
    }
  }
}

function isTrial({ kind }: DeploymentAction): boolean {
  return kind === 'start_shadow' || kind === 'start_share';
}

/**
 * The champion a rollback restores: the one that served before the present champion was promoted. Rolling back twice goes
 * back two promotions, so champions that were rolled back themselves are passed over.
 */
export function previousChampion(changes: readonly DeploymentChange[]): Served | null {
  const champions: Served[] = [];
  for (const { action, state } of changes) {
    if (action.kind === 'roll_back') champions.pop();
    else if (state.champion !== null && !isSame(state.champion, champions.at(-1))) champions.push(state.champion);
  }
  return champions.at(-2) ?? null;
}

function isSame(left: Served, right: Served | undefined): boolean {
  return right !== undefined && left.version === right.version && left.bundle === right.bundle;
}

function named(version: number | null): string {
  return version === null ? '(none)' : `v${version}`;
}
