/** States that a run must have reached; a simulation that never sees them proves nothing about them. */
const interestingStates = [
  'after on putIfAbsent',
  'conflict on putIfAbsent',
  'late on putIfAbsent',
  'a late write landed',
  'a late write lost the race',
  'the slot was taken',
  'a commit was fenced',
  'a commit found itself done already',
  'the collector fenced a job',
  'the collector deleted files',
  'a zombie finished after it was replaced',
  'an attempt crashed',
  'a reader saw a snapshot',
  'a promotion was promoted',
  'a promotion was superseded',
  'a trial failed',
  'a rollback named the former champion',
  'a rollback was refused',
  'a reader saw a champion',
];

/** From this many seeds on, every state must have been seen. */
export const seedsThatReachAll = 200;

export function unreached(counters: Readonly<Record<string, number>>): readonly string[] {
  return interestingStates.filter(state => (counters[state] ?? 0) === 0);
}
